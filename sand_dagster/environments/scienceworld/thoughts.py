"""A short thought for each action of a scripted expert."""

from __future__ import annotations

import re

_GOAL = re.compile(r"Your task is to (.+?)[.,](?:\s|$)", re.DOTALL)
_REASONS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (r"teleport to (.+)", "I have to be in the {0}"),
        (r"go to (.+)", "I walk on to the {0}"),
        (r"look around", "I look at what there is here"),
        (r"look (?:at|in) (.+)", "I look at the {0}"),
        (r"focus on (.+)", "I show that it is the {0} that I mean"),
        (r"pick up (.+)", "I need the {0} with me"),
        (r"(?:move|pour) (.+) (?:to|into|in) (.+)", "the {0} has to get into the {1}"),
        (r"drop (.+)", "I no longer need the {0} in my hands"),
        (r"mix (.+)", "what is in the {0} has to react"),
        (r"connect (.+) to (.+)", "the circuit needs a link from {0} to {1}"),
        (r"activate (.+)", "the {0} has to be on"),
        (r"deactivate (.+)", "the {0} has to be off"),
        (r"use (.+) on (.+)", "I try the {0} on the {1}"),
        (r"open (.+)", "the {0} has to be open"),
        (r"close (.+)", "the {0} has to be closed"),
        (r"(?:examine|read) (.+)", "I have to know more about the {0}"),
        (r"wait1?", "I give it some time"),
        (r"\d+", "I choose the number {0} of those that I am asked about"),
    )
)


def thought(description: str, action: str) -> str:
    """z_t for an expert's action in a task: one sentence, its goal and the action's reason."""
    goal = _GOAL.search(description)
    aim = " ".join(goal[1].split()) if goal else "do the task"
    for pattern, reason in _REASONS:
        if (found := pattern.fullmatch(action)) is not None:
            return f"To {aim}, {reason.format(*(found.groups() or (found[0],)))}."
    return f"To {aim}, the next thing is: {action}."
