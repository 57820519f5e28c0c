"""Action deliberation synthesis, and the mixed trajectories D_delib (Section 4.4, Eq. 6; Section 4.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sand_dagster.execution.units import Finished, Stage, Unit, run_units
from sand_dagster.ids import derive_seed, digest, identify
from sand_dagster.interfaces import Generator
from sand_dagster.outcomes import ReplyOutcome, StepOutcome
from sand_dagster.prompts.figures import (
    alternatives_prompt,
    deliberation_pattern,
    deliberation_prompt,
    parse_deliberation,
)
from sand_dagster.prompts.turns import render_history
from sand_dagster.rows.steps import DeliberationRow
from sand_dagster.sand.asking import ask
from sand_dagster.sand.evidence import Evidence
from sand_dagster.sand.mixing import PlannedStep, planned_steps
from sand_dagster.sand.settings import DeliberationSettings
from sand_dagster.sand.trajectories import Demonstration

Accept = Callable[[DeliberationRow], bool]
"""Whether a deliberation that parsed is taken, given the row of D_delib that it would make."""


def every_deliberation(_: DeliberationRow) -> bool:
    """Takes all that parse, as the paper does."""
    return True


async def deliberate(
    stage: Stage,
    demonstrations: Sequence[Demonstration],
    evidence: Evidence,
    base: Generator | None,
    settings: DeliberationSettings,
    accept: Accept = every_deliberation,
) -> Finished[DeliberationRow]:
    """D_delib: z̃_t where a step deliberates, elsewhere z_t as it was.

    A thought that does not parse is retried once; then the step keeps its thought and says why. Candidates
    without a usable critique are not listed; a step keeps its thought where that leaves fewer than two, or
    takes the one whose action it ends in. Only syntheses are units of work: a step that keeps its thought
    costs nothing to make again. The step of a thought that `accept` refuses keeps its own: `rejected`.
    `base` may be None only where there are no syntheses (iteration 00). Outcomes: as in the table's
    `outcome`, with `_fewer_candidates` where some are not listed.

    Raises:
        ValueError: a step deliberates, and there is no base model.
    """

    def planned() -> Iterator[PlannedStep]:
        for demonstration in demonstrations:
            yield from planned_steps(demonstration, evidence, settings)

    kept = Counter(str(step.row.outcome) for step in planned() if not step.deliberates)
    asked = sum(step.deliberates for step in planned())
    if base is None and asked:
        raise ValueError(f"{asked} steps deliberate, and there is no base model to ask for their thoughts")
    units = (
        _unit(stage, step, evidence, base, settings, accept)
        for step in planned()
        if step.deliberates and base is not None
    )
    finished = await run_units(stage, DeliberationRow, units, asked)
    mixed = _Mixed(stage.iteration, planned, finished.rows)
    return Finished(mixed, finished.outcomes + kept, finished.reused)


@dataclass(frozen=True, slots=True)
class _Mixed:
    """The rows of all ẽ, a step at a time: the synthesised ones, in order, among those that were kept."""

    iteration: str
    planned: Callable[[], Iterator[PlannedStep]]
    synthesised: Iterable[list[DeliberationRow]]

    def __iter__(self) -> Iterator[list[DeliberationRow]]:
        synthesised = iter(self.synthesised)
        before = ""
        for step in self.planned():
            (row,) = next(synthesised) if step.deliberates else [step.row]
            # A step's id holds the ids before it in its trajectory.
            before = "" if row.index == 0 else before
            before = identify(
                "deliberation_trajectories",
                self.iteration,
                before,
                row.parent_step_id,
                row.thought,
                row.action,
            )
            yield [replace(row, step_id=before)]


def _unit(
    stage: Stage,
    step: PlannedStep,
    evidence: Evidence,
    base: Generator,
    settings: DeliberationSettings,
    accept: Accept,
) -> Unit[DeliberationRow]:
    task_and_history = step.demonstration.task_instruction, render_history(step.demonstration.history(step.t))
    pattern, counted = "", ""
    if evidence.alternatives:
        prompt = alternatives_prompt(*task_and_history, evidence.alternatives, step.row.action)
    else:
        weighed = evidence.weighed(step.row.parent_step_id)
        pairs = [(candidate.action, critique.critique if critique else "") for candidate, critique in weighed]
        if len(pairs) < len(evidence.candidates[step.row.parent_step_id]):
            counted = "_fewer_candidates"
        prompt = deliberation_prompt(*task_and_history, pairs, step.row.action)
        # A small model may sample control characters, which no pattern can name.
        if settings.constrain_to_candidates and all(action.isprintable() for action, _ in pairs):
            pattern = deliberation_pattern([action for action, _ in pairs])
    key = stage.key(step.row, prompt, pattern, base.model_id)
    return Unit(key, partial(_synthesise, stage, step.row, base, prompt, pattern, settings, counted, accept))


async def _synthesise(
    stage: Stage,
    kept: DeliberationRow,
    base: Generator,
    prompt: str,
    pattern: str,
    settings: DeliberationSettings,
    counted: str,
    accept: Accept,
) -> tuple[list[DeliberationRow], str]:
    seed = partial(derive_seed, stage.seed, stage.iteration, "deliberation", kept.parent_step_id)
    parse = partial(parse_deliberation, action=kept.action if settings.require_expert_action else "")
    answer = await ask(base, prompt, parse, settings, seed, pattern)
    row = replace(
        kept,
        model_id=base.model_id,
        text=answer.text,
        outcome=answer.outcome,
        first_outcome=answer.first_outcome,
        attempts=answer.attempts,
        prompt_hash=digest(prompt),
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
    )
    if answer.outcome is ReplyOutcome.OK:
        deliberated = replace(row, thought=answer.parsed.text, deliberated=True)
        row = deliberated if accept(deliberated) else replace(row, outcome=StepOutcome.REJECTED)
    return [row], row.outcome + counted
