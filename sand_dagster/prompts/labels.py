"""The labels of a reply, such as `Action:`, however a model sets them: where its parts begin and end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from sand_dagster.prompts.replies import DASH, SYMBOLS


class Part(Enum):
    """What a label announces."""

    THOUGHT = "thought"
    ACTION = "action"
    ACTIONS = "actions"
    """A list of actions, of which the first may be the next."""
    EVALUATION = "evaluation"
    OBSERVATION = "observation"
    """The environment's words, which are not the agent's to write."""
    TURN = "turn"
    """Another speaker's turn."""


_OWN = frozenset({Part.THOUGHT, Part.ACTION, Part.ACTIONS, Part.EVALUATION})
_WORDS = {
    Part.EVALUATION: r"action[ _-]{0,2}evaluation",
    Part.THOUGHT: r"thoughts?",
    Part.ACTIONS: r"(?:next[ ])?action(?:s|\(s\))",
    Part.ACTION: (
        r"(?:(?:my|the|your)[ ])?"
        r"(?:(?:next|final|chosen|selected|best|proposed|recommended|suggested)[*_`]*[ ][*_`]*)?"
        r"action(?:[*_`]*[ ]line|[ ]to[ ](?:take|perform|execute))?(?:[*_`]*[ ]is(?=[*_ ]*[:：]))?"
    ),
    Part.OBSERVATION: (
        r"(?:(?:new|next|resulting|simulated)[ ])?observations?(?:[ ]\([^()\n]{1,30}\))?|obs|feedback"
        r"|environment(?:(?:['’]s)?[ ](?:feedback|response|output))?"
    ),
    Part.TURN: r"user|human|assistant",
}
_NAMES = "|".join(f"(?P<{part.value}>{words})" for part, words in _WORDS.items())
_NUMBER = r"(?:[ \t]*#?\d{1,3})?"
_COLON = r"[:：][*_`]*"
_ORDINAL = r"(?:(?:step[ ])?\d{1,2}[.):][ \t]+)"
_ITEM = re.compile(r"[ \t]*(?:[-+*•‣▪◦●–—]|\(?\d{1,2}[.)])[ \t]+(?=\S)")
_LABEL = re.compile(
    rf"^(?P<item>{_ITEM.pattern})?"
    rf"[#>*_`\"“'\[/ \t{SYMBOLS}]*(?P<ordinal>{_ORDINAL}[*_]*)?(?:{_NAMES}){_NUMBER}"
    rf"(?:[*_`\] \t]*(?:{_COLON}|(?=\n|\Z))|(?P<title>[*_`]*[ \t]+{DASH}[ \t]|[*_]{{2}}[ \t]|\][ \t]))",
    re.MULTILINE | re.IGNORECASE,
)
_INLINE = re.compile(
    rf"(?:(?<=[\s|.!?。！？])[*_`]*(?:(?P<thought>Thought)|(?P<action>Action|ACTION))"
    rf"|(?<![A-Za-z])[*_`]*(?:(?P<observation>Observation)|(?P<turn>User|Human))){_NUMBER}[*_`]*[ ]?{_COLON}"
)
_SENTENCE_END = re.compile(r"[.!?…|。！？][\"'”’)*_`]*\Z")
_SAYS_MORE = re.compile(
    r"[^\n.!?]*?\b(?:I|it|we|is|are|was|were|has|have|will|would|should|must|that|this|which)\b",
    re.IGNORECASE,
)
"""A sentence about something, as no action is one."""
_IN_PROSE = re.compile(
    r"\b(?:my|the|a|an|this|that|last|previous|next|best|first|any|each|which|what|final|another|same|of)\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Label:
    """A label that begins a line. Its part's text begins at `end`; `listed` where it is one of a list."""

    part: Part
    start: int
    end: int
    listed: bool


def labels(text: str) -> list[Label]:
    """The labels that begin a line, in order.

    They may be bold, a heading, quoted or numbered, in any case. One alone on its line needs no colon.
    """
    return [_label(found) for found in _LABEL.finditer(text) if not _is_prose(found)]


def up_to_environment(text: str) -> tuple[str, bool]:
    """`text` up to where the model goes on to write the environment's part or another's, and whether it does.

    An observation before any thought or action is the agent's own account of where it stands.
    """
    acted = False
    for label in labels(text):
        if label.part is Part.TURN or (label.part is Part.OBSERVATION and acted):
            return text[: label.start], True
        acted = acted or label.part in _OWN
    return text, False


def one_label_a_line(text: str) -> str:
    """`text` with a line break before each label that stands within a line: `Thought: … Action: …`.

    The word may also stand in a sentence. So where any line begins with `Action:`, no other line is broken;
    else a label counts after the end of a sentence; in the last line also after a colon, or if that line
    begins with a label and the word before is no article or the like. In a list's item it never counts.
    """
    acts = any(label.part is Part.ACTION for label in labels(text))
    last = text.rstrip().count("\n")
    lines = text.split("\n")
    return "\n".join(
        "\n".join(_broken(line, acts, index == last)) if not _ITEM.match(line) else line
        for index, line in enumerate(lines)
    )


def _broken(line: str, acts: bool, is_last: bool) -> Iterator[str]:
    label = _LABEL.match(line)
    label = None if label is None or _is_prose(label) else label
    acting = label is not None and label["action"] is not None
    labelled = label is not None
    done = 0
    for inner in _INLINE.finditer(line, label.end() if label else 0):
        before = line[done : inner.start()].rstrip()
        if not acting and (acts or not _begins_a_part(inner, before, is_last, labelled)):
            continue
        yield before
        done = inner.start()
        acting = acting or inner["action"] is not None
        labelled = True
    yield line[done:]


def _begins_a_part(inner: re.Match[str], before: str, is_last: bool, labelled: bool) -> bool:
    if inner["action"] is None and inner["thought"] is None:
        return False
    if _SENTENCE_END.search(before) or (is_last and before.endswith((":", "："))):
        return True
    return inner["action"] is not None and is_last and labelled and not _IN_PROSE.search(before)


def _is_prose(found: re.Match[str]) -> bool:
    """Whether a bold word without a colon, or one before a dash, opens a sentence and is no label.

    Of a critique it is the title. An action is no sentence; a thought or an observation is one.
    """
    if found["title"] is None or found["evaluation"] is not None:
        return False
    word, rest = found["action"] or found["thought"] or found["observation"], found.string[found.end() :]
    if not word or word[0].islower() or "*" in word:
        return True
    return _SAYS_MORE.match(rest) is not None if found["action"] else rest.lstrip()[:1].islower()


def _label(found: re.Match[str]) -> Label:
    part = next(part for part in Part if found[part.value] is not None)
    listed = found["item"] is not None or found["ordinal"] is not None
    return Label(part, found.start(), found.end(), listed)
