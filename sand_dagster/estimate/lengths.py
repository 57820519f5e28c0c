"""Counts and lengths of an experiment's work: measured if it has run, otherwise assumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.errors import ArtifactError
from sand_dagster.evaluation.table1 import TASKS
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.recordings.eto import Record, read_records


class Lengths(NamedTuple):
    """Means, in tokens unless the text says otherwise."""

    trajectories: float
    """Demonstrations of D_exp: a count."""
    steps: float
    """Steps of a demonstration."""
    tasks: float
    """Test tasks of both splits: a count."""
    opening: float
    """The agent's first message: prompt and task."""
    observation: float
    turn: float
    """A turn of π_0, without deliberation."""
    acting: float
    """A turn of an agent that has learnt to deliberate."""
    rollout_steps: float
    test_steps: float
    first_test_steps: float
    """Steps of an episode of iteration 00."""
    deliberating: float
    """Share of steps whose samples disagree."""
    candidates: float
    """Distinct actions of such a step, the expert's included."""
    critique_prompt: float
    critique: float
    deliberation_prompt: float
    deliberation: float
    step_seconds: float
    """Seconds of the environment on one core."""


ASSUMED = {
    # The household's figures are from its measured run; the published games use the same engine.
    "household": Lengths(24, 7.3, 200, 40, 11, 16, 85, 12.4, 12.7, 15.3, 0.78, 3.0, 284, 23, 224, 97, 0.0002),
    # ETO: 3,119 trajectories; its thoughts are a sentence or two. Deliberations: Figure 5's length.
    "alfworld": Lengths(3119, 10, 274, 500, 30, 45, 200, 12, 14, 18, 0.5, 2.6, 1600, 120, 2200, 250, 0.0002),
    "scienceworld": Lengths(
        1483, 14, 405, 700, 60, 45, 220, 25, 25, 30, 0.6, 2.8, 3000, 120, 3600, 250, 0.015
    ),
}
WHERE = {
    "household": "its run of 2026-11-26",
    "alfworld": "ETO's counts; lengths of thoughts, turns and disagreements are assumptions",
    "scienceworld": "Table 1, ETO's split; lengths: docs/measurements.md; disagreements are assumptions",
}
_OTHER = ASSUMED["alfworld"]


def lengths(experiment: Experiment, home: Path) -> tuple[Lengths, list[str]]:
    """Figures from the experiment's own tables, else from its options, its file of expert trajectories and
    the paper, else assumptions. Also returns sentences that say which is which.

    Raises:
        RecordError: the file of expert trajectories holds none.
    """
    kind = experiment.environment.kind
    found = ASSUMED.get(kind, _OTHER)
    notes = [f"Assumed for {kind} if nothing was measured: {WHERE.get(kind, 'as for alfworld')}."]
    options: Any = experiment.environment.options
    counted = {name: getattr(options, name, None) for name in ("train", "seen", "unseen")}
    if all(isinstance(count, int) for count in counted.values()):
        found = found._replace(
            trajectories=float(counted["train"] or 0),
            tasks=float((counted["seen"] or 0) + (counted["unseen"] or 0)),
        )
    elif kind in TASKS:
        limits = getattr(options, "limits", None)
        limited = {split: getattr(limits, split, None) for split in TASKS[kind]}
        sizes = {
            split: count if (limit := limited[split]) is None else min(count, limit)
            for split, count in TASKS[kind].items()
        }
        found = found._replace(
            trajectories=min(found.trajectories, sizes["train"]),
            tasks=float(sizes["seen"] + sizes["unseen"]),
        )
    experts = getattr(options, "experts", None)
    if isinstance(experts, Path) and experts.exists():
        records = [record for record in read_records(experts) if isinstance(record, Record)]
        steps = sum(len(record.steps) for record in records) / len(records)
        found = found._replace(trajectories=float(len(records)), steps=steps)
        notes.append(f"Counted in {experts}: {len(records)} expert trajectories of {steps:.1f} steps.")
    try:
        measured = _measured(ArtifactStore(home, experiment.name), experiment.sampling.n)
    except ArtifactError:
        measured = {}
    if measured:
        found = found._replace(**measured)
        notes.append(f"Measured in {home / experiment.name}: {', '.join(measured)}.")
    return found, notes


def _measured(store: ArtifactStore, samples: int) -> dict[str, float]:
    """The lengths in the tables of the last complete iteration."""
    found: dict[str, float] = {}
    if (data := store.manifest("expert_data", None)) and data.counts.get("trajectories"):
        found["trajectories"] = float(data.counts["trajectories"])
        found["steps"] = data.counts["steps"] / data.counts["trajectories"]
    if tasks := store.manifest("tasks", None):
        found["tasks"] = float(tasks.counts.get("seen", 0) + tasks.counts.get("unseen", 0))
    last = next(reversed(store.iterations("eval_episodes")), None)
    if last is None:
        return found
    first = _episodes(store, "eval_episodes", "00") if "00" in store.iterations("eval_episodes") else None
    if first:
        found |= {"first_test_steps": first["steps"], "turn": first["turn"]}
    if last != "00":
        tested, rolled = _episodes(store, "eval_episodes", last), _episodes(store, "rollouts", last)
        found |= {"test_steps": tested["steps"], "acting": tested["turn"]}
        if rolled["steps"]:
            found["rollout_steps"] = rolled["steps"]
        found |= _written(store, last)
        found |= _read(store, "01", samples, found["turn"]) if "turn" in found else {}
    return found


def _episodes(store: ArtifactStore, table: str, iteration: str) -> dict[str, float]:
    totals = (
        store.scan(table, iteration)
        .select(
            steps=pl.col("steps").list.len().sum(), tokens=pl.col("completion_tokens").sum(), rows=pl.len()
        )
        .collect()
        .row(0, named=True)
    )
    return {
        "steps": totals["steps"] / max(1, totals["rows"]),
        "turn": totals["tokens"] / max(1, totals["steps"]),
    }


def _written(store: ArtifactStore, iteration: str) -> dict[str, float]:
    found: dict[str, float] = {}
    candidates = store.scan("candidate_actions", iteration).select("step_id", "deliberates").collect()
    if candidates.height:
        steps = candidates.group_by("step_id").agg(pl.col("deliberates").any(), rows=pl.len())
        disagreeing = steps.filter("deliberates")
        found["deliberating"] = disagreeing.height / steps.height
        found["candidates"] = float(disagreeing["rows"].sum()) / max(1, disagreeing.height)
    for table, prompt, completion in (
        ("critiques", "critique_prompt", "critique"),
        ("deliberation_trajectories", "deliberation_prompt", "deliberation"),
    ):
        asked = store.scan(table, iteration).filter(pl.col("completion_tokens") > 0)
        totals = asked.select(pl.col("prompt_tokens").mean(), pl.col("completion_tokens").mean()).collect()
        if totals.height and totals.item(0, 0) is not None:
            found |= {prompt: float(totals.item(0, 0)), completion: float(totals.item(0, 1))}
    return found


def _read(store: ArtifactStore, iteration: str, samples: int, turn: float) -> dict[str, float]:
    """Lengths of the first message and of an observation, from the prompts of the steps' samples."""
    if iteration not in store.iterations("candidate_actions"):
        return {}
    prompts = store.scan("candidate_actions", iteration).filter("is_expert").select("index", "prompt_tokens")
    rows = prompts.collect()
    if not rows.height or not rows["index"].sum():
        return {}
    first = rows.filter(pl.col("index") == 0)["prompt_tokens"]
    opening = int(first.sum()) / max(1, len(first)) / samples
    a_step = (int(rows["prompt_tokens"].sum()) / samples - opening * rows.height) / int(rows["index"].sum())
    return {"opening": opening, "observation": max(1.0, a_step - turn)}
