"""The reader's data: a small index of all tasks and episodes, and pieces that are loaded when they are read.

A page that is opened from a file cannot read other files, but it can load scripts. So every file of data is
a script that calls one function. A file is named by its content: a page that is open while the report is
written again never gets another content under the same name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sand_dagster.reports.entries import Demonstrations, Json, episode_entry, ids_in
from sand_dagster.reports.subjects import Subject
from sand_dagster.rows.evaluation import EpisodeRow

PIECE_BYTES = 256 * 1024
"""A piece is closed when it has so much; one task is never divided."""

_NAME_DIGITS = 16
_GOAL = re.compile(r"your task is to:?\s*(.+)", re.IGNORECASE)
Write = Callable[[str, str], None]
"""Called with a file's name (without a folder) and its text."""


@dataclass(slots=True)
class _Columns:
    """The index's rows, column by column: it is a fourth of the size that it has row by row."""

    names: tuple[str, ...]
    values: dict[str, list[Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.values = {name: [] for name in self.names}

    def add(self, *cells: Any) -> None:
        for name, cell in zip(self.names, cells, strict=True):
            self.values[name].append(cell)


@dataclass(slots=True)
class _Run:
    """An experiment's iteration: its number in the index, and where its rows are looked up."""

    subject: Subject
    iteration: str
    episodes: dict[str, list[EpisodeRow]] = field(init=False)
    demonstrations: Demonstrations = field(init=False)

    def __post_init__(self) -> None:
        self.episodes = {}
        for episode in self.subject.episodes.get(self.iteration, ()):
            self.episodes.setdefault(episode.task_id, []).append(episode)
        self.demonstrations = Demonstrations.of(self.subject.store, self.iteration)


def write_pieces(subjects: Sequence[Subject], write: Write) -> str:
    """Write all files of data with `write`; returns the name of the index.

    Raises:
        ArtifactError: a table is damaged.
    """
    runs = [
        _Run(subject, iteration)
        for subject in subjects
        for iteration in sorted({*subject.store.iterations("expert_trajectories"), *subject.episodes})
    ]
    kinds = _kinds(subjects)
    tasks = _Columns(("id", "split", "kind", "goal", "piece"))
    episodes = _Columns(
        ("id", "task", "run", "reward", "steps", "deliberations", "refused", "tokens", "ended")
    )
    demonstrations = _Columns(
        ("id", "task", "run", "reward", "steps", "deliberations", "refused", "candidates")
    )
    ids: dict[str, dict[str, int]] = {}
    pieces: list[str] = []
    waiting: dict[str, str] = {}

    def close() -> None:
        if waiting:
            body = ",".join(f'"{number}":{text}' for number, text in waiting.items())
            pieces.append(_write(write, f"{{{body}}}"))
            waiting.clear()

    for number, task_id in enumerate(_task_ids(runs)):
        split, kind, instruction = "train", "", ""
        of_task: dict[str, list[Json]] = {"episodes": [], "demonstrations": []}
        for place, run in enumerate(runs):
            for episode in run.episodes.get(task_id, ()):
                split, kind, instruction = episode.split, episode.kind, episode.instruction
                of_task["episodes"].append({"run": place, **episode_entry(episode)})
                episodes.add(
                    episode.episode_id,
                    number,
                    place,
                    round(episode.reward, 3),
                    len(episode.steps),
                    episode.deliberations,
                    episode.invalid_actions,
                    episode.completion_tokens,
                    episode.ended.value,
                )
            for entry in run.demonstrations.entries(task_id):
                instruction = instruction or entry["instruction"]
                of_task["demonstrations"].append({"run": place, **entry})
                for each in ids_in(entry):
                    ids.setdefault(each[:1], {})[each] = number
                demonstrations.add(
                    entry["id"],
                    number,
                    place,
                    round(entry["reward"], 3),
                    len(entry["steps"]),
                    sum(made["deliberated"] for step in entry["steps"] for made in step["made"]),
                    sum(
                        candidate["rollout"]["refused"]
                        for step in entry["steps"]
                        for candidate in step["candidates"]
                        if candidate["rollout"]
                    ),
                    sum(len(step["candidates"]) for step in entry["steps"]),
                )
        tasks.add(task_id, split, kind or kinds.get(task_id, ""), _goal(instruction), len(pieces))
        waiting[str(number)] = _json(of_task)
        if sum(map(len, waiting.values())) > PIECE_BYTES:
            close()
    close()
    return _write(
        write,
        _json(
            {
                "runs": [
                    [run.subject.name, run.iteration, run.subject.method(run.iteration)] for run in runs
                ],
                "tasks": tasks.values,
                "episodes": episodes.values,
                "demonstrations": demonstrations.values,
                "pieces": pieces,
                "ids": {first: _write(write, _json(known)) for first, known in sorted(ids.items())},
            }
        ),
    )


def _task_ids(runs: Sequence[_Run]) -> Iterator[str]:
    """Evaluated tasks, then those of demonstrations, each once."""
    seen = dict.fromkeys(task for run in runs for task in run.episodes)
    seen |= dict.fromkeys(task for run in runs for task in run.demonstrations.steps)
    return iter(seen)


def _kinds(subjects: Sequence[Subject]) -> dict[str, str]:
    """The type of every task, by its id."""
    kinds: dict[str, str] = {}
    for subject in subjects:
        if subject.store.manifest("tasks", None) is not None:
            rows = subject.store.scan("tasks", None).select("task_id", "kind").collect()
            kinds |= dict(rows.iter_rows())
    return kinds


def _goal(instruction: str) -> str:
    """The goal in an instruction, for the list: what follows `Your task is to`, or else its first line."""
    found = _GOAL.search(instruction)
    lines = [line for line in instruction.splitlines() if line.strip()]
    return (found[1] if found else lines[0] if lines else "").strip()


def _write(write: Write, body: str) -> str:
    """Write the script for `body`, which is JSON; returns its name."""
    name = hashlib.sha256(body.encode()).hexdigest()[:_NAME_DIGITS]
    write(f"{name}.js", f'sandData("{name}",{body});\n')
    return name


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
