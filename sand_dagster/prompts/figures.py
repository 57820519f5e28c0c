"""The prompts of Figures 5 and 6: filling them in, and reading what the base model answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from sand_dagster.outcomes import ReplyOutcome
from sand_dagster.prompts.labels import Part, labels, up_to_environment
from sand_dagster.prompts.replies import balanced, lists_actions, plain
from sand_dagster.prompts.turns import before_action

_SLOT = re.compile(r"\{(\w+)\}")
_CANDIDATE_LINE = re.compile(r"^- \{candidate_action_\d+\}.*\n", re.MULTILINE)
_LEAK = re.compile(r"scratch[- ]?pad|simulat|imagined (?:several )?futures|outside help", re.IGNORECASE)
_SPECIAL, _ESCAPED = re.compile(r"([\\.^$*+?{}\[\]|()/-])"), r"\\\1"
_INLINE_TITLE = re.compile(
    r"action[ _-]{0,2}evaluation[*_`]*(?: (?:for|of)\b[^\n:.]{1,80}| ?\([^()\n]{1,80}\))?"
    r"[*_`]*[ \t]?[:：][*_`]*",
    re.IGNORECASE,
)
_TITLE_LINE = re.compile(
    r"^[ \t]*(?:#{1,6} |\*\*)[ *_]*action[ _-]{0,2}evaluation\b[^\n.!?]{0,100}$", re.IGNORECASE | re.MULTILINE
)
_QUOTED = re.compile(r"^[ \t]*>[ \t]", re.MULTILINE)
_CLOSING_WORDS = re.compile(
    r"\n\s*(?:(?:please )?(?:let me know|feel free to)|i hope (?:this|that) helps|would you like)\b.*\s*\Z",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)
_ABOUT = re.compile(r"[^\n.!?]{1,100}\n\s*(?=\S)")
_PLACEHOLDER = re.compile(r"<[^<>]*>|\[[^\[\]]*\]|\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Parsed:
    """The usable text of a reply, empty unless `outcome` is OK."""

    text: str
    outcome: ReplyOutcome


@cache
def template(name: str) -> str:
    """A prompt: "critique" (Figure 5) and "deliberation" (Figure 6) as published, "alternatives" ours."""
    return resources.files("sand_dagster.prompts").joinpath(f"{name}.txt").read_text().rstrip("\n")


@cache
def agent_prompt(package: str) -> str:
    """The agent's prompt that an environment's `package` ships, with the slot `{task}`: Figure 7 or 8."""
    return resources.files(package).joinpath("instruction.txt").read_text().strip("\n")


def fill(text: str, values: Mapping[str, str]) -> str:
    """Fill `{name}` slots in one pass, so braces in the values stay what they are."""
    return _SLOT.sub(lambda slot: values.get(slot[1], slot[0]), text)


def critique_prompt(instruction: str, history: str, action: str, rollout: str) -> str:
    """Prompt_c of Eq. 5 for one candidate; `action` fills both spellings of its slot."""
    return fill(
        template("critique"),
        {
            "task_instruction": instruction,
            "interaction_history": history,
            "sample_action": action,
            "sampled_action": action,
            "executed_rollout": rollout,
        },
    )


def deliberation_prompt(
    instruction: str, history: str, candidates: Sequence[tuple[str, str]], expert_action: str
) -> str:
    """Prompt_d of Eq. 6: one line for each (candidate action, critique), however many there are.

    A candidate without a critique (the variant without EAC) is listed as the bare action.
    """
    lines = "".join(
        f"- {action}: {' '.join(note.split())}\n" if note else f"- {action}\n" for action, note in candidates
    )
    return _deliberation_prompt(instruction, history, lines, expert_action)


def alternatives_prompt(instruction: str, history: str, n: int, expert_action: str) -> str:
    """Prompt_d without self-consistency action sampling (Table 3): π_base proposes candidates in context.

    Figure 6 word for word, but for its scratch-pad, which asks for `n` alternatives to the expert's action.
    """
    asked = fill(template("alternatives"), {"n": str(n), "expert_action": expert_action})
    return _deliberation_prompt(instruction, history, f"{asked}\n", expert_action)


def _deliberation_prompt(instruction: str, history: str, notes: str, expert_action: str) -> str:
    """Figure 6 with `notes`, whole lines, in place of its lines of candidates."""
    published = template("deliberation")
    first = _CANDIDATE_LINE.search(published)
    assert first is not None
    rest = _CANDIDATE_LINE.sub("", published[first.start() :])
    values = {
        "task_instrution": instruction,
        "interaction_history": history,
        "expert_action": expert_action,
    }
    return fill(published[: first.start()], values) + notes + fill(rest, values)


def parse_critique(reply: str, prompt: str = "", *, cut: bool = False) -> Parsed:
    """The paragraph after `Action Evaluation:` (Figure 5), white space folded to single spaces.

    The title may be bold or a heading, without a colon where it stands alone, and may name the action. What
    follows under another label or heading is not of the critique. One that was `cut` off is none, nor is one
    that only repeats a part of its `prompt`, whatever the white space.
    """
    said, followed = up_to_environment(plain(reply))
    text, ended = _evaluation(said)
    if cut and not (followed or ended):
        return Parsed("", ReplyOutcome.CUT_OFF)
    if not said.strip():
        return Parsed("", ReplyOutcome.EMPTY)
    if text is None:
        return Parsed("", ReplyOutcome.NO_MARKER)
    text = balanced(" ".join(_CLOSING_WORDS.sub("", _QUOTED.sub("", text)).split()))
    if not text or _PLACEHOLDER.fullmatch(text):
        return Parsed("", ReplyOutcome.EMPTY)
    if text in " ".join(prompt.split()):
        return Parsed("", ReplyOutcome.COPIED)
    return _unless_it_leaks(text)


def _evaluation(said: str) -> tuple[str | None, bool]:
    """What stands under the title, None where there is none, and whether something follows it."""
    found = labels(said)
    title = next((label for label in found if label.part is Part.EVALUATION), None)
    if title is not None:
        start, titled = title.end, _is_title_line(said, title.start)
    elif inline := _INLINE_TITLE.search(said) or _TITLE_LINE.search(said):
        start, titled = inline.end(), False
    else:
        return None, False
    ends = [label.start for label in found if label.start > start and not label.listed]
    ends += [heading.start() for heading in _HEADING.finditer(said, start)]
    end = min(ends, default=len(said))
    if titled and (about := _ABOUT.match(said, start, end)):
        start = about.end()
    return said[start:end], bool(ends)


def _is_title_line(said: str, start: int) -> bool:
    """Whether all of the line is a heading or bold."""
    line = said[start:].partition("\n")[0].strip()
    return line.startswith("#") or (line.startswith("**") and line.endswith("**"))


def parse_deliberation(reply: str, action: str = "", *, cut: bool = False) -> Parsed:
    """The thought z̃_t without its `Thought:` and closing words, cut at its first `Action:`, ours to append.

    A deliberation that holds no candidate list is not one, nor one that was `cut` off before its action.
    With `action`, its last line has to name that.
    """
    text, ended = before_action(reply)
    text = _CLOSING_WORDS.sub("", text)
    if cut and not ended:
        return Parsed("", ReplyOutcome.CUT_OFF)
    if not text:
        return Parsed("", ReplyOutcome.EMPTY)
    if not is_deliberation(text):
        return Parsed("", ReplyOutcome.NO_LIST)
    if action and not re.search(rf"{re.escape(action)}(?!\w)", text.rpartition("\n")[2]):
        return Parsed("", ReplyOutcome.OTHER_ACTION)
    return _unless_it_leaks(text)


def _unless_it_leaks(text: str) -> Parsed:
    """`text`, if it does not mention what the agent will not have."""
    if _LEAK.search(text):
        return Parsed("", ReplyOutcome.MENTIONS_NOTES)
    return Parsed(text, ReplyOutcome.OK)


def deliberation_pattern(candidates: Sequence[str]) -> str:
    """Figure 6's output as a regular expression: a reflection, a judgement of each candidate, a rationale."""
    lines = "".join(f"- {_SPECIAL.sub(_ESCAPED, action)}: [^\\n]+\\n" for action in candidates)
    return f"Thought: [^\\n]+\\n\\n{lines}\\n[^\\n]+"


def is_deliberation(thought: str) -> bool:
    """Whether a thought compares candidates: at least one `- action: judgement` line (Figure 6)."""
    return lists_actions(thought)
