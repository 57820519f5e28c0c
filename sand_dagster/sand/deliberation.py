"""Action deliberation synthesis, and the mixed trajectories D_delib (Section 4.4, Eq. 6; Section 4.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from sand_dagster.execution.units import Finished, Row, Stage, Unit, run_units
from sand_dagster.ids import derive_seed, digest, identify
from sand_dagster.interfaces import Generator
from sand_dagster.prompts.figures import (
    alternatives_prompt,
    deliberation_pattern,
    deliberation_prompt,
    parse_deliberation,
)
from sand_dagster.prompts.turns import render_history
from sand_dagster.sand.critiques import NO_ROLLOUT, ask
from sand_dagster.sand.episode import was_played
from sand_dagster.sand.settings import DeliberationSettings
from sand_dagster.sand.switch import better_rollout
from sand_dagster.sand.trajectories import Demonstration

Accept = Callable[[Row], bool]
"""Whether a deliberation that parsed is taken, given the row of D_delib that it would make."""

_ASKED = "asked"
"""The outcome of a step before its deliberation is synthesised."""

REJECTED = "rejected"
"""The outcome where a deliberation parsed and was not accepted."""

_NOT_ASKED: Row = {
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

    def played(self, candidate_id: str) -> bool:
        """Whether the candidate was executed, or nothing was to be (the variant without EAC)."""
        rollout = self.rollouts.get(candidate_id)
        return rollout is None or was_played(rollout)


def every_deliberation(_: Row) -> bool:
    """Takes all that parse, as the paper does."""
    return True


async def deliberate(
    stage: Stage,
    demonstrations: Sequence[Demonstration],
    evidence: Evidence,
    base: Generator | None,
    settings: DeliberationSettings,
    accept: Accept = every_deliberation,
) -> Finished:
    """The `deliberation_trajectories` rows: z̃_t where a step deliberates, elsewhere z_t as it was.

    A thought that does not parse is retried once; then the step keeps its thought and says why. Candidates
    without a usable critique are not listed; a step keeps its thought where that leaves fewer than two, or
    takes the one whose action it ends in. Only syntheses are units of work: a step that keeps its thought
    costs nothing to make again. The step of a thought that `accept` refuses keeps its own: `rejected`.
    `base` may be None only where there are no syntheses (iteration 00). Outcomes: as in the table's
    `outcome`, with `_fewer_candidates` where some are not listed.

    Raises:
        ValueError: a step deliberates, and there is no base model.
    """

    def planned() -> Iterator[_PlannedStep]:
        for demonstration in demonstrations:
            yield from _plan(demonstration, evidence, settings)

    kept = Counter(step.row["outcome"] for step in planned())
    asked = kept.pop(_ASKED, 0)
    if base is None and asked:
        raise ValueError(f"{asked} steps deliberate, and there is no base model to ask for their thoughts")
    units = (
        _unit(stage, step, evidence, base, settings, accept)
        for step in planned()
        if step.row["outcome"] == _ASKED and base is not None
    )
    finished = await run_units(stage, units, asked)
    mixed = _Mixed(stage.iteration, planned, finished.rows)
    return Finished(mixed, finished.outcomes + kept, finished.reused)


@dataclass(frozen=True, slots=True)
class _PlannedStep:
    """A step of ẽ before its thought: its row, and the demonstration's step that it stands at, or follows.

    The row's outcome is `_ASKED` where a deliberation is to be synthesised, else why there is none.
    """

    demonstration: Demonstration
    t: int
    row: Row


@dataclass(frozen=True, slots=True)
class _Mixed:
    """The rows of all ẽ, a step at a time: the synthesised ones, in order, among those that were kept."""

    iteration: str
    planned: Callable[[], Iterator[_PlannedStep]]
    synthesised: Iterable[list[Row]]

    def __iter__(self) -> Iterator[list[Row]]:
        synthesised = iter(self.synthesised)
        before = ""
        for step in self.planned():
            (row,) = next(synthesised) if step.row["outcome"] == _ASKED else [step.row]
            # A step's id holds the ids before it in its trajectory.
            before = "" if row["index"] == 0 else before
            before = identify(
                "deliberation_trajectories",
                self.iteration,
                before,
                row["parent_step_id"],
                row["thought"],
                row["action"],
            )
            yield [{**row, "step_id": before}]


def _plan(
    demonstration: Demonstration, evidence: Evidence, settings: DeliberationSettings
) -> Iterator[_PlannedStep]:
    """ẽ's steps: the demonstration's, or, after an expert switch, the better rollout's from its step on."""
    own = [c for row in demonstration.rows for c in evidence.candidates.get(row["step_id"], ())]
    switched = better_rollout(demonstration, own, evidence.rollouts, settings.expert_switch)
    end = len(demonstration.rows) if switched is None else switched["index"]
    rollout = None if switched is None else evidence.rollouts[switched["candidate_id"]]
    reward = demonstration.reward if rollout is None else rollout["reward"]
    for t in range(end):
        parent = demonstration.rows[t]
        row = {**parent, "parent_step_id": parent["step_id"], "rollout_id": "", "reward": reward}
        yield _PlannedStep(demonstration, t, _before_asking(row, evidence))
    if rollout is None:
        return
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
            "reward": reward,
        }
        # π_k chose the steps after the first: there were no candidates.
        planned = _before_asking(row, evidence) if offset == 0 else row | _NOT_ASKED
        yield _PlannedStep(demonstration, end, planned)


def _before_asking(row: Row, evidence: Evidence) -> Row:
    """`row` with the columns that a synthesis fills in, as they are for a step that keeps its thought."""
    if not evidence.deliberates(row["parent_step_id"]):
        return row | _NOT_ASKED
    weighed, outcome = _weigh(row["parent_step_id"], evidence), _ASKED
    own = [candidate for candidate, _ in weighed if _ends_in(row, candidate, evidence)]
    if evidence.critiques is not None and (len(weighed) < 2 or not own):
        weighed, outcome = _all(row["parent_step_id"], evidence), _why_not(row["parent_step_id"], evidence)
    critiques = [critique for _, critique in weighed if critique is not None]
    return (
        row
        | _NOT_ASKED
        | {
            "candidate_ids": [candidate["candidate_id"] for candidate, _ in weighed],
            "critique_ids": [critique["critique_id"] for critique in critiques],
            "outcome": outcome,
            "first_outcome": outcome,
        }
    )


def _ends_in(row: Row, candidate: Row, evidence: Evidence) -> bool:
    """Whether the step ends in the candidate's action: the expert's, or the one that it is switched to."""
    if row["rollout_id"]:
        return bool(evidence.rollouts[candidate["candidate_id"]]["rollout_id"] == row["rollout_id"])
    return bool(candidate["is_expert"])


def _weigh(step_id: str, evidence: Evidence) -> list[tuple[Row, Row | None]]:
    """The candidates that a deliberation lists: where there are critiques, those with a usable one."""
    return [
        (candidate, critique)
        for candidate, critique in _all(step_id, evidence)
        if evidence.critiques is None or (critique is not None and critique["critique"])
    ]


def _why_not(step_id: str, evidence: Evidence) -> str:
    """Why too few of a step's candidates have a usable critique."""
    candidates = evidence.candidates.get(step_id, ())
    played = all(evidence.played(candidate["candidate_id"]) for candidate in candidates)
    return "no_critique" if played else NO_ROLLOUT


def _all(step_id: str, evidence: Evidence) -> list[tuple[Row, Row | None]]:
    """The step's candidates, each with its critique where it has one."""
    # In the order of their text the expert's may stand anywhere, and one set is always listed alike.
    candidates = sorted(evidence.candidates.get(step_id, ()), key=lambda row: row["normalised"])
    critiques = evidence.critiques or {}
    return [(row, critiques.get(row["candidate_id"])) for row in candidates]


def _unit(
    stage: Stage,
    step: _PlannedStep,
    evidence: Evidence,
    base: Generator,
    settings: DeliberationSettings,
    accept: Accept,
) -> Unit:
    told = step.demonstration.instruction, render_history(step.demonstration.history(step.t))
    pattern, counted = "", ""
    if evidence.alternatives:
        prompt = alternatives_prompt(*told, evidence.alternatives, step.row["action"])
    else:
        weighed = _weigh(step.row["parent_step_id"], evidence)
        pairs = [
            (candidate["action"], critique["critique"] if critique else "") for candidate, critique in weighed
        ]
        if len(pairs) < len(evidence.candidates[step.row["parent_step_id"]]):
            counted = "_fewer_candidates"
        prompt = deliberation_prompt(*told, pairs, step.row["action"])
        # A small model may sample control characters, which no pattern can name.
        if settings.constrain_to_candidates and all(action.isprintable() for action, _ in pairs):
            pattern = deliberation_pattern([action for action, _ in pairs])
    key = stage.key(step.row, prompt, pattern, base.model_id)
    return Unit(key, partial(_synthesise, stage, step.row, base, prompt, pattern, settings, counted, accept))


async def _synthesise(
    stage: Stage,
    kept: Row,
    base: Generator,
    prompt: str,
    pattern: str,
    settings: DeliberationSettings,
    counted: str,
    accept: Accept,
) -> tuple[list[Row], str]:
    seed = partial(derive_seed, stage.seed, stage.iteration, "deliberation", kept["parent_step_id"])
    parse = partial(parse_deliberation, action=kept["action"] if settings.require_expert_action else "")
    answer = await ask(base, prompt, parse, settings, seed, pattern)
    row = {**kept, "model_id": base.model_id, "prompt_hash": digest(prompt), **answer.columns()}
    if answer.parsed.outcome == "ok":
        deliberated = {**row, "thought": answer.parsed.text, "deliberated": True}
        row = deliberated if accept(deliberated) else {**row, "outcome": REJECTED}
    return [row], row["outcome"] + counted
