"""Turns as text: how a ReAct-style step is written for the model, and read from its reply (Section 3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sand_dagster.interfaces import Domain
from sand_dagster.prompts.action_line import clean_action
from sand_dagster.prompts.labels import Label, Part, labels, one_label_a_line, up_to_environment
from sand_dagster.prompts.replies import balanced, lists_actions, plain
from sand_dagster.types import Completion, Message, Step, Trajectory

_POLITE = re.compile(
    r"\A\s*(?:(?:sure|certainly|of course|okay|ok|absolutely|great|alright|here(?:'s|’s| is| are))\b"
    r"[^\n]*:[*_]*|(?:sure(?: thing)?|certainly|of course|absolutely|understood)[.!])[ \t]*(?:\n|\Z)",
    re.IGNORECASE,
)
_ITEM = re.compile(r"[ \t]*(?:[-*+•–—]|\d{1,2}[.)])[ \t]+\S")
_ANNOUNCEMENT = re.compile(r"[^\n]*:[*_]*")
_NEXT_TASK = "This task has ended. Here is the next one."
_NO_HISTORY = "No action has been taken yet."


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed reply (z_t, a_t). `action` is None where no line begins with `Action:` and says something."""

    thought: str
    action: str | None


def parse_completion(completion: Completion) -> Reply:
    """The reply that a completion holds; of one that was cut off, see `parse_reply`."""
    return parse_reply(completion.text, cut=completion.cut)


def parse_reply(text: str, *, cut: bool = False) -> Reply:
    """Split a reply into thought and action.

    The action is what the *last* `Action:` that begins a line says, on that line or, if it stands alone,
    on the next: a deliberation may hold the word in its list. A thought is optional (Figures 7 and 8 allow
    `Action:` alone). What a chat model puts around either is taken off (`replies`, `labels`,
    `action_line`), and what it writes of the environment's part does not count. Of a text that was `cut`
    off, the line it ends in is no action.
    """
    text, ended = _agents_part(text)
    found = labels(text)
    label = _action_label(text, found)
    if label is None:
        return Reply(_thought(text), None)
    end = min((other.start for other in found if other.start > label.start), default=len(text))
    line, end = _first_line(text, label.end, end)
    in_full = ended or end < len(text) or not cut
    return Reply(_thought(_before(text, found, label)), clean_action(line) if in_full else None)


def before_action(text: str) -> tuple[str, bool]:
    """The thought in `text`, and whether something ends it: a line that begins with `Action:`, or another's
    words."""
    text, ended = _agents_part(text)
    first = next((label for label in labels(text) if _is_action(label)), None)
    return _thought(text if first is None else text[: first.start]), ended or first is not None


def _agents_part(text: str) -> tuple[str, bool]:
    """A reply, each label on a line of its own, up to what is not the agent's; and whether that follows."""
    # Within a line a label is looked for only where the agent itself has no `Action:` line.
    own, ended = up_to_environment(plain(text))
    own, ended_in_line = up_to_environment(one_label_a_line(own))
    return own, ended or ended_in_line


def _action_label(text: str, found: Sequence[Label]) -> Label | None:
    """The last `Action:`. In a list of several it may stand before each candidate: there only one counts.

    Without any, `Actions:`, whose first counts if they are in order.
    """
    plain_ones = [label for label in found if _is_action(label)]
    if plain_ones:
        return plain_ones[-1]
    listed = [label for label in found if label.part is Part.ACTION]
    if listed:
        return listed[0] if len(listed) == 1 else None
    lists = [label for label in found if label.part is Part.ACTIONS]
    return lists[0] if len(lists) == 1 and _is_in_order(text[lists[0].end :]) else None


def _is_in_order(text: str) -> bool:
    """Whether actions are one, or numbered: with other bullets, or with judgements, a list is a choice."""
    items = [line for line in text.split("\n") if _ITEM.match(line)]
    return len(items) < 2 or (items[0].strip()[0].isdigit() and not lists_actions(text))


def _is_action(label: Label) -> bool:
    return label.part is Part.ACTION and not label.listed


def _first_line(text: str, start: int, end: int) -> tuple[str, int]:
    """The first line of `text[start:end]` that says something, and where it ends in `text`."""
    said = text[start:end].lstrip()
    line = said.partition("\n")[0]
    return line, end - len(said) + len(line)


def _before(text: str, found: Sequence[Label], label: Label) -> str:
    """What stands before `label`, or before the first of it where it is written twice: `Action: Action:`."""
    start = label.start
    for other in reversed(found):
        if other.part is Part.ACTION and other.end <= start and not text[other.end : start].strip():
            start = other.start
    return text[:start]


def _thought(text: str) -> str:
    """A thought without its `Thought:`, and without the polite words before it."""
    first = next((label for label in labels(text) if label.part is Part.THOUGHT), None)
    if first is not None and not lists_actions(text[: first.start]):
        said = text[first.end :].strip()
        # It may be written twice: a heading, then `Thought:`.
        again = next(
            (label for label in labels(said) if label.part is Part.THOUGHT and not label.start), None
        )
        return balanced(said[again.end :].strip() if again else said)
    if _ANNOUNCEMENT.fullmatch(text.strip()):
        return ""
    return balanced(_POLITE.sub("", text).strip())


def render_turn(thought: str, action: str) -> str:
    """The assistant's message for (z_t, a_t); of a reply without an action only the thought is left."""
    if not action:
        return f"Thought: {thought}"
    return f"Thought: {thought}\nAction: {action}" if thought else f"Action: {action}"


def render_observation(observation: str) -> str:
    """The user's message for o_t."""
    return f"Observation: {observation}"


def turn_messages(step: Step) -> list[Message]:
    """(z_t, a_t) and o_t as two messages."""
    return [
        {"role": "assistant", "content": render_turn(step.thought, step.action)},
        {"role": "user", "content": render_observation(step.observation)},
    ]


def conversation(
    domain: Domain, instruction: str, steps: Sequence[Step], example: Trajectory | None = None
) -> list[Message]:
    """h_t as a chat: Figure 7 or 8 with the task, then a turn and its observation for every step.

    With an `example` (the `eto` protocol's one shot) the prompt asks for the example's task, the example
    is played, and its last observation is followed by the task to do.
    """
    if example is None:
        first = [{"role": "user", "content": domain.prompt(instruction)}]
    else:
        first = conversation(domain, example.instruction, example.steps)
        first[-1] = {"role": "user", "content": f"{first[-1]['content']}\n\n{_NEXT_TASK}\n{instruction}"}
    return [*first, *(message for step in steps for message in turn_messages(step))]


def render_history(steps: Sequence[Step]) -> str:
    """h_t as running text, for `{interaction_history}` in Figures 5 and 6."""
    lines = (f"{render_turn(s.thought, s.action)}\n{render_observation(s.observation)}" for s in steps)
    return "\n".join(lines) or _NO_HISTORY


def render_rollout(steps: Sequence[Step], reward: float, left_out: int = 0) -> str:
    """ê_t as running text, for `{executed_rollout}` in Figure 5.

    The first step is the candidate itself. The last line states r_t, which Eq. 5 conditions on. `left_out`
    steps in the middle, fewer than there are, are left out, and a line says how many.
    """
    lines = [f"Action: {step.action}\n{render_observation(step.observation)}" for step in steps]
    if left_out:
        tail = (len(lines) - left_out) // 2
        head = len(lines) - left_out - tail
        lines[head : head + left_out] = [
            f"[... {left_out} {'step' if left_out == 1 else 'steps'} left out ...]"
        ]
    return "\n".join([*lines, f"Final task reward: {reward:.2f} out of 1.00"])
