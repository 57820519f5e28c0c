"""Action deliberation synthesis, and the mixed trajectories D_delib (Section 4.4, Eq. 6; Section 4.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from sand_dagster.sand.critiques import ask
from sand_dagster.sand.identity import derive_seed, digest, identify
from sand_dagster.sand.interfaces import Generator
from sand_dagster.sand.prompting import alternatives_prompt, deliberation_prompt, parse_deliberation
from sand_dagster.sand.settings import DeliberationSettings
from sand_dagster.sand.switch import better_rollout
from sand_dagster.sand.trajectories import Demonstration
from sand_dagster.sand.turns import render_history
from sand_dagster.sand.units import Finished, Row, Stage, Unit, run_units


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the earlier stages found: candidates by step id, and rollouts and critiques by candidate id.

    In the variant without EAC there are no rollouts, and `critiques` is None. In the variant without SAS
    there are no candidates either: every step deliberates over `alternatives` = N actions of π_base's own.
    """

    candidates: Mapping[str, Sequence[Row]]
    rollouts: Mapping[str, Row] = field(default_factory=dict)
    critiques: Mapping[str, Row] | None = None
    alternatives: int = 0

    def deliberates(self, step_id: str) -> bool:
        """1_delib(t) of Eq. 4; where nothing was sampled, no agreement is known."""
        candidates = self.candidates.get(step_id, ())
        return self.alternatives > 0 or (bool(candidates) and bool(candidates[0]["deliberates"]))


async def deliberate(
    stage: Stage,
    demonstrations: Sequence[Demonstration],
    evidence: Evidence,
    base: Generator | None,
    settings: DeliberationSettings,
) -> Finished:
    """The `deliberation_trajectories` rows: z̃_t where a step deliberates, elsewhere z_t as it was.

    A thought that does not parse is retried once; then the step keeps its thought and says why. So does a
    step of which a critique did not parse. `base` may
    be None only where no step deliberates (iteration 00). Outcomes: as in the table's `outcome`.
    """
    units: list[Unit] = []
    for demonstration in demonstrations:
        plan = _plan(demonstration, evidence, settings)
        units += [_unit(stage, demonstration, step, evidence, base, settings) for step in plan]
    finished = await run_units(stage, units)
    _chain(stage.iteration, finished.rows)
    return finished


@dataclass(frozen=True, slots=True)
class _PlannedStep:
    """A step of ẽ before its thought: its row, and the demonstration's step it deliberates at, if any."""

    row: Row
    t: int | None


def _plan(
    demonstration: Demonstration, evidence: Evidence, settings: DeliberationSettings
) -> list[_PlannedStep]:
    """ẽ's steps: the demonstration's, or, after an expert switch, the better rollout's from its step on."""
    own = [c for row in demonstration.rows for c in evidence.candidates.get(row["step_id"], ())]
    switched = better_rollout(demonstration, own, evidence.rollouts, settings.expert_switch)
    end = len(demonstration.rows) if switched is None else switched["index"]
    plan = [_demonstrated(demonstration.rows[t], t, evidence) for t in range(end)]
    if switched is None:
        return plan
    rollout = evidence.rollouts[switched["candidate_id"]]
    parent = demonstration.rows[end]
    for offset, played in enumerate(rollout["steps"]):
        row = {
            **parent,
            "parent_step_id": parent["step_id"],
            "index": end + offset,
            "thought": played["thought"],
            "action": played["action"],
            "observation": played["observation"],
            "deliberated": False,
            "origin": "switched",
            "rollout_id": rollout["rollout_id"],
        }
        plan.append(_PlannedStep(row, end if offset == 0 else None))
    return [_PlannedStep({**step.row, "reward": rollout["reward"]}, step.t) for step in plan]


def _demonstrated(row: Row, t: int, evidence: Evidence) -> _PlannedStep:
    planned = {**row, "parent_step_id": row["step_id"], "rollout_id": ""}
    return _PlannedStep(planned, t if evidence.deliberates(row["step_id"]) else None)


def _unit(
    stage: Stage,
    demonstration: Demonstration,
    step: _PlannedStep,
    evidence: Evidence,
    base: Generator | None,
    settings: DeliberationSettings,
) -> Unit:
    kept = {
        **step.row,
        "candidate_ids": [],
        "critique_ids": [],
        "model_id": "",
        "outcome": "kept",
        "first_outcome": "kept",
        "attempts": 0,
        "text": "",
        "prompt_hash": "",
        "prompt_tokens": 0,
        "completion_tokens": 0,
    }
    if step.t is None or base is None:
        return Unit(digest("kept", kept), partial(_keep, kept))
    told = demonstration.instruction, render_history(demonstration.history(step.t))
    if evidence.alternatives:
        prompt = alternatives_prompt(*told, evidence.alternatives, kept["action"])
    else:
        pairs = _weigh(kept, evidence)
        if pairs is None:
            kept |= {"outcome": "no_critique", "first_outcome": "no_critique"}
            return Unit(digest("kept", kept), partial(_keep, kept))
        prompt = deliberation_prompt(*told, pairs, kept["action"])
    key = digest("deliberation", kept, prompt, base.model_id, settings.model_dump(), stage.seed)
    return Unit(key, partial(_synthesise, stage, kept, base, prompt, settings))


def _weigh(row: Row, evidence: Evidence) -> list[tuple[str, str]] | None:
    """The step's candidate actions with their critiques, ids into `row`; None: a critique is missing."""
    # Ids are hashes: their order puts the expert's action anywhere in the list, the same on every run.
    candidates = sorted(evidence.candidates[row["parent_step_id"]], key=lambda row: row["candidate_id"])
    row["candidate_ids"] = [candidate["candidate_id"] for candidate in candidates]
    notes = [""] * len(candidates)
    if evidence.critiques is not None:
        critiques = [evidence.critiques[candidate["candidate_id"]] for candidate in candidates]
        row["critique_ids"] = [critique["critique_id"] for critique in critiques]
        notes = [critique["critique"] for critique in critiques]
        if not all(notes):
            return None
    return [(candidate["action"], note) for candidate, note in zip(candidates, notes, strict=True)]


async def _keep(row: Row) -> tuple[list[Row], str]:
    return [row], str(row["outcome"])


async def _synthesise(
    stage: Stage, kept: Row, base: Generator, prompt: str, settings: DeliberationSettings
) -> tuple[list[Row], str]:
    seed = partial(derive_seed, stage.seed, stage.iteration, "deliberation", kept["parent_step_id"])
    answer = await ask(base, prompt, parse_deliberation, settings, seed)
    row = {**kept, "model_id": base.model_id, "prompt_hash": digest(prompt), **answer.columns()}
    if answer.parsed.outcome == "ok":
        row |= {"thought": answer.parsed.text, "deliberated": True}
    return [row], answer.parsed.outcome


def _chain(iteration: str, rows: Sequence[Sequence[Row]]) -> None:
    """Give every step its id, which holds the ids before it in its trajectory."""
    before = ""
    for (row,) in rows:
        before = "" if row["index"] == 0 else before
        before = identify(
            "deliberation_trajectories",
            iteration,
            before,
            row["parent_step_id"],
            row["thought"],
            row["action"],
        )
        row["step_id"] = before
