"""Algorithm 1 of the paper in one function, in memory: the steps that the assets call, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from sand_dagster.execution.units import Finished, MemoryJournal, Stage, no_progress
from sand_dagster.interfaces import Domain, Environments, Generator, Trainer
from sand_dagster.rows.candidates import CandidateRow, CritiqueRow, RolloutRow
from sand_dagster.rows.row import Row
from sand_dagster.rows.steps import DeliberationRow, DemonstrationRow
from sand_dagster.sand.candidates import Indicator, inconsistent, sample_candidates
from sand_dagster.sand.checkpoints import checkpoint_id, finetuning_seed, policy_id
from sand_dagster.sand.critiques import Critic, criticise
from sand_dagster.sand.deliberation import Accept, deliberate, every_deliberation
from sand_dagster.sand.episode import Agent
from sand_dagster.sand.evidence import Evidence
from sand_dagster.sand.rollouts import roll_out
from sand_dagster.sand.settings import AlgorithmSettings, epochs_of
from sand_dagster.sand.trajectories import (
    demonstrations_of,
    expert_rows,
    next_demonstrations,
    original_thoughts,
)
from sand_dagster.types import Trajectory

R = TypeVar("R", bound=Row)
Serve = Callable[[Path], AbstractAsyncContextManager[Generator]]
"""Loads the checkpoint in a folder; the model is there until the context ends."""


@dataclass(frozen=True, slots=True)
class Policy:
    """π_θ: a model in a folder."""

    id: str
    model_id: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Iteration:
    """What an iteration made: the rows of its tables, and π_θ after it."""

    demonstrations: Sequence[DemonstrationRow]  # D_exp
    candidates: Sequence[CandidateRow]  # {â¹..âᴺ} ∪ {a_t}
    rollouts: Sequence[RolloutRow]  # ê_t, r_t
    critiques: Sequence[CritiqueRow]  # c_t
    deliberations: Sequence[DeliberationRow]  # D_delib
    policy: Policy


async def self_taught_action_deliberation(
    expert: Sequence[Trajectory],
    domain: Domain,
    environments: Environments,
    base: Generator,
    base_folder: Path,
    serve: Serve,
    trainer: Trainer,
    output: Path,
    settings: AlgorithmSettings,
    *,
    indicator: Indicator = inconsistent,
    critic: Critic = criticise,
    accept: Accept = every_deliberation,
) -> list[Iteration]:
    """SAND, Algorithm 1: iteration 00, which is behaviour initialisation, to I. The last holds the final π_θ.

    Args:
        expert: the expert trajectories.
        domain: what the environment says of itself.
        environments: where candidates are executed.
        base: π_base, frozen.
        base_folder: the same as files, which the first finetuning starts from.
        serve: makes a checkpoint a generator.
        trainer: writes the checkpoints, into `output / "00"`, `"01"`, ...
        settings: I, N, temperatures, epochs, seed.
        indicator: at which steps to deliberate.
        critic: who judges the candidates.
        accept: which deliberations are taken.
    """
    tasks = {trajectory.task.id: trajectory.task for trajectory in expert}
    experts = expert_rows(expert)
    original = original_thoughts(experts) if settings.deliberation.carry_over == "original" else None
    full = domain if settings.task_instruction == "full" else None
    finetune = partial(_finetune, trainer=trainer, domain=domain, output=output, settings=settings)

    # Behaviour initialisation (4.1): every step keeps its thought.
    stage = _stage(0, settings)
    d_exp = next_demonstrations(stage.iteration, experts, None)
    nothing = Evidence({})
    d_delib = _rows(await deliberate(stage, demonstrations_of(d_exp), nothing, None, settings.deliberation))
    start = Policy(policy_id(stage.iteration, "", base.model_id), base.model_id, base_folder)
    policy = finetune(0, start, d_delib)  # Eq. 2
    done = [Iteration(d_exp, [], [], [], d_delib, policy)]

    for k in range(1, settings.iterations + 1):
        stage = _stage(k, settings)
        d_exp = next_demonstrations(stage.iteration, d_delib, original)  # D_exp ← D_delib
        e = demonstrations_of(d_exp, full)
        async with serve(policy.folder) as model:
            pi = Agent(policy.id, model, domain, settings.max_new_tokens)  # π_k ← π_θ
            # {â¹..âᴺ} ~ π_k(· | h_{t-1}), Eq. 3; 1_delib(t), Eq. 4
            candidates = _rows(await sample_candidates(stage, e, pi, settings.sampling, indicator))
            # ê_t, r_t ~ π_k(· | h_{t-1}, ẑ_t, â_t), Section 4.3
            rollouts = _rows(await roll_out(stage, candidates, e, tasks, environments, pi, settings.rollouts))
        played = {rollout.candidate_id: rollout for rollout in rollouts}
        # c_t ~ π_base(· | â_t, ê_t, r_t, Prompt_c), Eq. 5
        critiques = _rows(await critic(stage, candidates, played, e, base, settings.critiques))
        # z̃_t ~ π_base(· | {â_t, c_t}, Prompt_d), Eq. 6
        evidence = Evidence.of(candidates, rollouts, critiques)
        d_delib = _rows(await deliberate(stage, e, evidence, base, settings.deliberation, accept))
        policy = finetune(k, policy, d_delib)  # Eq. 7
        done.append(Iteration(d_exp, candidates, rollouts, critiques, d_delib, policy))
    return done


def _finetune(
    k: int,
    policy: Policy,
    d_delib: Sequence[DeliberationRow],
    *,
    trainer: Trainer,
    domain: Domain,
    output: Path,
    settings: AlgorithmSettings,
) -> Policy:
    """π_θ: `policy` finetuned on D_delib, as the next iteration's policy."""
    iteration, epochs = f"{k:02}", epochs_of(settings.epochs, k)
    conversations = [trajectory.conversation(domain) for trajectory in demonstrations_of(d_delib)]
    folder, seed = output / iteration, finetuning_seed(settings.seed, iteration)
    model_id = str(trainer.finetune(conversations, policy.folder, folder, seed, epochs)["model_id"])
    steps = [step.step_id for step in d_delib]
    checkpoint = checkpoint_id(policy.id, policy.model_id, steps, settings.finetuning, epochs, settings.seed)
    return Policy(policy_id(f"{k + 1:02}", checkpoint, model_id), model_id, folder)


def _stage(k: int, settings: AlgorithmSettings) -> Stage:
    return Stage(MemoryJournal(), settings.max_concurrency, no_progress, f"{k:02}", settings.seed)


def _rows(finished: Finished[R]) -> list[R]:
    return list(chain.from_iterable(finished.rows))
