"""Where episodes fail: refused and repeated actions, the step limit, a wrong object."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from sand_dagster.outcomes import Ended
from sand_dagster.reports.subjects import Subject
from sand_dagster.reports.table import Cell, Column, Table, Unit
from sand_dagster.rows.evaluation import EpisodeRow

REPEATS = 4
"""The same action so many times counts as repeated, as in `sand ask EXPERIMENT repeated_actions`."""

_GAME = re.compile(r"/[a-z_]+-(?P<object>[A-Za-z]+)-(?P<tool>[A-Za-z]+)-[A-Za-z]+-\d+/")
"""An ALFWorld game's name: type, object, movable receptacle, receptacle, scene."""
_TAKE = re.compile(r"take (?P<object>[a-z]+) \d+ from ")


class Failing(StrEnum):
    """What can be seen in a lost episode. One episode may have several."""

    STEP_LIMIT = "step limit"
    """Its turns were used up."""
    PROMPT_TOO_LONG = "prompt too long"
    """Its context was full."""
    ENDED = "ended early"
    """The environment ended it without the full reward."""
    REFUSED = "refused"
    """At least one action was refused."""
    REPEATED = "repeated"
    """One action was repeated `REPEATS` times."""
    UNPARSED = "no action"
    """At least one reply named no action."""
    WRONG_OBJECT = "wrong object"
    """An object of another type than the task's was taken."""


def lost(episode: EpisodeRow) -> bool:
    """Whether it did not get the full reward."""
    return episode.reward < 1.0


def failings(episode: EpisodeRow) -> set[Failing]:
    """What can be seen in `episode`, whether it was lost or not."""
    often = Counter(turn.action for turn in episode.steps if turn.action)
    seen = {
        Failing.STEP_LIMIT: episode.ended is Ended.STEP_LIMIT,
        Failing.PROMPT_TOO_LONG: episode.ended is Ended.PROMPT_TOO_LONG,
        Failing.ENDED: episode.ended is Ended.DONE and lost(episode),
        Failing.REFUSED: episode.invalid_actions > 0,
        Failing.REPEATED: max(often.values(), default=0) >= REPEATS,
        Failing.UNPARSED: episode.unparsed > 0,
        Failing.WRONG_OBJECT: bool(took_wrong_object(episode)),
    }
    return {failing for failing, there in seen.items() if there}


def took_wrong_object(episode: EpisodeRow) -> bool | None:
    """Whether it took an object of another type than the task's; None where that cannot be known.

    It is known for ALFWorld's games, whose names hold the object (and the movable receptacle, if any).
    """
    game = _GAME.search(episode.task_id)
    if game is None:
        return None
    wanted = {game["object"].lower(), game["tool"].lower()}
    taken = [_TAKE.match(turn.action.lower()) for turn in episode.steps if turn.valid]
    return any(take["object"] not in wanted for take in taken if take)


def table(subjects: Sequence[Subject]) -> Table:
    """The share of lost episodes that show each failing."""
    rows: list[list[Cell]] = []
    for subject in subjects:
        for each in subject.evaluations:
            failed = [episode for episode in each.episodes if lost(episode)]
            seen = Counter(failing for episode in failed for failing in failings(episode))
            known = [episode for episode in failed if took_wrong_object(episode) is not None]
            shares: list[Cell] = []
            for failing in Failing:
                of = known if failing is Failing.WRONG_OBJECT else failed
                shares.append(seen[failing] / len(of) if of else None)
            rows.append([*each.place, len(each.episodes), len(failed), *shares])
    return Table(
        "failures",
        "Where episodes fail",
        "Of the lost episodes (reward below 1), the share that shows each. One episode may show several. "
        f"Repeated: the same action {REPEATS} times or more. Wrong object: one of another type than the "
        "task's was taken; known for ALFWorld's games only.",
        (
            *(Column(name) for name in ("experiment", "iteration", "method", "split")),
            Column("tasks", Unit.COUNT),
            Column("lost", Unit.COUNT),
            *(Column(failing.value, Unit.PERCENT) for failing in Failing),
        ),
        rows,
    )
