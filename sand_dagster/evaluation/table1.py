"""The paper's number of tasks, by environment and split (Table 1)."""

from __future__ import annotations

from collections.abc import Mapping

TASKS: Mapping[str, Mapping[str, int]] = {
    "scienceworld": {"train": 1483, "seen": 194, "unseen": 211},
    "alfworld": {"train": 3321, "seen": 140, "unseen": 134},
}

_WHY = {
    ("alfworld", "train"): "3321 is a constant in ETO's code, which no filter of the 3553 published games "
    "gives; ETO published 3119 trajectories"
}


def difference(kind: str, counts: Mapping[str, int]) -> str:
    """One sentence that lists the `counts`, by split, that differ from the paper's; empty if none does.

    Raises:
        KeyError: the paper has no environment of this `kind`.
    """
    differing = [
        f"{split} {counts.get(split, 0)} instead of {published}"
        + (f" ({_WHY[kind, split]})" if (kind, split) in _WHY else "")
        for split, published in TASKS[kind].items()
        if counts.get(split, 0) != published
    ]
    return f"Not the tasks of Table 1: {', '.join(differing)}." if differing else ""
