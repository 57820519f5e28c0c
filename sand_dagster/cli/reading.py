"""Rows as readable text, with one form for each table."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from sand_dagster.artifacts.schemas import TABLES, Table
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.prompts.turns import render_observation, render_turn

Row = dict[str, Any]

_NAMED = 8
"""This many ids of a list are shown; the rest is counted."""


def mentions(table: Table, row: Row, id: str) -> bool:
    """Whether `row` has this id, is of this trajectory, or names the id as a parent."""
    columns = {table.key, *table.parents, *({"trajectory_id", "model_id"} & table.columns.keys())}
    return any(id == row[name] or (isinstance(row[name], list) and id in row[name]) for name in columns)


class Reader:
    """Writes rows of one partition as text, with related rows of the iteration's other tables."""

    def __init__(self, store: ArtifactStore, table: str, iteration: str | None) -> None:
        self._store, self._table, self._iteration = store, table, iteration
        self._write: Callable[[Row], str] = {
            "expert_import": _import,
            "expert_data": _step,
            "expert_trajectories": _step,
            "candidate_actions": _candidate,
            "rollouts": self._rollout,
            "critiques": self._critique,
            "deliberation_trajectories": self._deliberation,
            "explorations": _exploration,
            "eval_episodes": _episode,
            "search_episodes": _search_episode,
        }.get(table, _fields)

    def title(self, row: Row) -> str:
        """The row's heading: its id and its place."""
        where = f", {row['trajectory_id']} step {row['index']}" if "index" in row else ""
        return f"{self._table} {row[TABLES[self._table].key]}{where}"

    def text(self, row: Row) -> str:
        """The row's text; it ends without a newline."""
        return self._write(row).rstrip("\n")

    @cached_property
    def _candidates(self) -> Mapping[str, Row]:
        return self._by_id("candidate_actions")

    @cached_property
    def _rollouts(self) -> Mapping[str, Row]:
        return {row["candidate_id"]: row for row in self._by_id("rollouts").values()}

    def _by_id(self, table: str) -> Mapping[str, Row]:
        """The rows of another table of this iteration, none if that is not complete."""
        if self._store.manifest(table, self._iteration) is None:
            return {}
        frame = self._store.read(table, self._iteration)
        return {row[TABLES[table].key]: row for row in frame.iter_rows(named=True)}

    def _ballot(self, candidate_id: str) -> str:
        """A line for one candidate: its votes, and how its rollout ended."""
        candidate = self._candidates.get(candidate_id)
        if candidate is None:
            return f"candidate {candidate_id}"
        rollout = self._rollouts.get(candidate_id)
        result = f"  rollout: reward {rollout['reward']:.2f}, {rollout['ended']}" if rollout else ""
        expert = "  (expert)" if candidate["is_expert"] else ""
        return f"{candidate['votes']} votes  {candidate['action']}{expert}{result}"

    def _deliberation(self, row: Row) -> str:
        ballots = "".join(f"  {self._ballot(id)}\n" for id in row["candidate_ids"])
        what = "deliberated" if row["deliberated"] else "not deliberated"
        switched = f", switched to rollout {row['rollout_id']}" if row["rollout_id"] else ""
        head = f"{what}: {row['outcome']}, chosen by {row['origin']}{switched}\n"
        return head + (f"candidates:\n{ballots}" if ballots else "") + "the model will see:\n" + _step(row)

    def _critique(self, row: Row) -> str:
        text = row["critique"] or f"(raw reply) {row['text']}"
        return f"{self._ballot(row['candidate_id'])}\noutcome: {row['outcome']}\n{_indented(text)}"

    def _rollout(self, row: Row) -> str:
        counts = f"{row['invalid_actions']} invalid, {row['unparsed']} unparsed"
        head = f"reward {row['reward']:.2f}, {row['ended']}, {len(row['steps'])} steps ({counts})"
        return f"{self._ballot(row['candidate_id'])}\n{head}\n{_transcript(row['steps'])}"


def _import(row: Row) -> str:
    left = "taken" if row["kept"] else "left out"
    head = f"{row['verdict']}, {left}"
    if row["row"] >= 0:
        head += f"; row {row['row']} of the file, {row['record_id'] or 'without an id'}"
    lines = [head, *([row["problem"]] if row["problem"] else [])]
    if row["reward"] is None:
        return "\n".join(lines)
    lines.append(f"{row['task_id']}: reward {row['reward']:.2f}, {len(row['steps'])} steps")
    if row["recorded_steps"] > len(row["steps"]):
        lines[-1] += f" of {row['recorded_steps']} recorded, the others come after the end"
    if row["differs_at"] is not None:
        where = "the instruction" if row["differs_at"] < 0 else f"step {row['differs_at']}"
        lines += [f"differs first at {where} {row['action']!r}"]
        lines += [f"  recorded: {row['expected']!r}", f"  found:    {row['found']!r}"]
    return "\n".join([*lines, row["instruction"], _transcript(row["steps"])])


def _step(row: Row) -> str:
    turn = f"{render_turn(row['thought'], row['action'])}\n{render_observation(row['observation'])}"
    return f"{row['instruction']}\n{_indented(turn)}" if row["index"] == 0 else _indented(turn)


def _candidate(row: Row) -> str:
    expert = ", the expert's" if row["is_expert"] else ""
    deliberates = "the step deliberates" if row["deliberates"] else "the step does not deliberate"
    texts = "".join(f"  sample:\n{_indented(text, 4)}\n" for text in row["texts"])
    turn = _indented(render_turn(row["thought"], row["action"]))
    return f"{row['votes']} votes{expert}; {deliberates}; sampling: {row['outcome']}\n{turn}\n{texts}"


def _episode(row: Row) -> str:
    head = (
        f"{row['split']} {row['kind']} {row['task_id']}: reward {row['reward']:.2f}, {row['ended']}, "
        f"{len(row['steps'])} steps ({row['deliberations']} deliberated, {row['invalid_actions']} invalid, "
        f"{row['unparsed']} unparsed)"
    )
    return f"{head}\n{row['instruction']}\n{_transcript(row['steps'])}"


def _exploration(row: Row) -> str:
    head = (
        f"{row['task_id']}, exploration {row['sample']}: reward {row['reward']:.2f}, {row['ended']}, "
        f"{len(row['steps'])} steps ({row['invalid_actions']} invalid, {row['unparsed']} unparsed)"
    )
    return f"{head}\n{row['instruction']}\n{_transcript(row['steps'])}"


def _search_episode(row: Row) -> str:
    head = (
        f"{row['split']} {row['kind']} {row['task_id']}: {row['mode']} of {row['n']}, "
        f"sample {row['sample']}: reward {row['reward']:.2f}, {row['ended']}, {len(row['steps'])} steps "
        f"({row['invalid_actions']} invalid, {row['unparsed']} unparsed), {row['completion_tokens']} tokens"
    )
    return f"{head}\n{row['instruction']}\n{_transcript(row['steps'])}"


def _transcript(steps: list[Row]) -> str:
    turns = []
    for number, step in enumerate(steps, 1):
        refused = "" if step["valid"] else "  (invalid)"
        observation = f"{render_observation(step['observation'])}{refused}"
        turns.append(f"[{number}] {render_turn(step['thought'], step['action'])}\n{observation}")
    return _indented("\n".join(turns))


def _fields(row: Row) -> str:
    """Any row: one line for each column; for long lists, the first few items and their number."""
    width = max(map(len, row))
    return "\n".join(f"{name:{width}}  {_value(value)}" for name, value in row.items())


def _value(value: object) -> str:
    if isinstance(value, list) and len(value) > _NAMED:
        return f"{', '.join(map(str, value[:_NAMED]))}, … ({len(value)} in all)"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _indented(text: str, by: int = 2) -> str:
    return textwrap.indent(text, " " * by)
