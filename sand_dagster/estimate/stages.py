"""Stage by stage: tokens, rollouts, seconds, from counts, lengths and the hardware's rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.estimate.hardware import CORE, Hardware
from sand_dagster.estimate.lengths import Lengths, lengths
from sand_dagster.estimate.rates import (
    DECODING,
    ENGINE_SHARE,
    ENGINE_START_S,
    PREFILL,
    TRAINER_START_S,
    TRAINING,
    Rates,
)
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.models.packaged import packaged_model
from sand_dagster.models.parallel import DoesNotFit, Parallelism, parallelism
from sand_dagster.models.settings import ModelSource
from sand_dagster.models.shape import KNOWN, ModelShape
from sand_dagster.rows.search import SearchMode
from sand_dagster.training.memory import TrainingDoesNotFit, TrainingPlan, for_pairs, plan_training
from sand_dagster.training.settings import FinetuningSettings

_SFT, _DPO = "training", "training on pairs"


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """One stage of one iteration. `environment_s` is the time of all workers; it overlaps with generation.

    `gpus` are the cards of all machines, because they are in use during the whole run.
    """

    iteration: str
    stage: str
    units: int = 0
    prefill_tokens: int = 0
    completion_tokens: int = 0
    environment_s: float = 0.0
    seconds: float = 0.0
    disk: int = 0
    gpus: int = 0

    @property
    def gpu_hours(self) -> float:
        return self.gpus * self.seconds / 3600


@dataclass(frozen=True, slots=True)
class Estimate:
    """All stages, memory, and the assumptions. `plans` says how the cards are used, `refusals` what does not
    fit, both by the part: `generation`, or a kind of training."""

    experiment: str
    hardware: Hardware
    parameters: int
    stages: list[StageEstimate]
    generation: Parallelism | None
    training: TrainingPlan | None
    plans: dict[str, str]
    refusals: dict[str, str]
    assumptions: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def gpu_hours(self) -> float:
        return sum(stage.gpu_hours for stage in self.stages)

    @property
    def disk(self) -> int:
        """Bytes in `$SAND_HOME`."""
        return sum(stage.disk for stage in self.stages)


def shape_of(experiment: Experiment, home: Path) -> ModelShape:
    """The base model's shape, read from the model on this machine, else from the list of known models.

    Raises:
        ValueError: it is neither.
    """
    from sand_dagster.models.model_folder import present

    base = experiment.model.base
    packaged = packaged_model(base)
    if packaged:
        folder = packaged.present(home)
    else:
        folder = present(ModelSource(model=base, revision=experiment.model.revision))
    if folder is not None:
        return ModelShape.read(folder)
    if base in KNOWN:
        return KNOWN[base]
    raise ValueError(f"the model {base} is not on this machine, and its size is not known: download it first")


def estimate(
    experiment: Experiment, hardware: Hardware, until: str, home: Path, *, calibrate: str | None = None
) -> Estimate:
    """The estimate for iterations 00 to `until`.

    With `calibrate`, the speed is this machine's speed in the experiment's run until that iteration.

    Raises:
        ValueError: the model's size is not known.
    """
    shape = shape_of(experiment, home)
    means, assumptions = lengths(experiment, home)
    refusals: dict[str, str] = {}
    plans: dict[str, str] = {}
    generation: Parallelism | None = None
    trainings: dict[str, TrainingPlan] = {}
    if not hardware.on_cpu:
        memory, cards = hardware.device.memory, hardware.devices
        try:
            generation = parallelism(shape, experiment.model.max_model_len, cards, memory, ENGINE_SHARE)
            plans["generation"] = generation.describe(shape, cards)
        except DoesNotFit as error:
            refusals["generation"] = str(error)
        for part, settings in _trainings(experiment).items():
            try:
                trainings[part] = plan_training(shape, settings, cards, memory, hardware.host_memory)
                plans[part] = trainings[part].describe(settings)
                if hardware.nodes > 1:
                    host = hardware.nodes * hardware.host_memory
                    together = plan_training(shape, settings, hardware.gpus, memory, host)
                    plans[f"{part} over {hardware.nodes} machines"] = together.describe(settings)
            except TrainingDoesNotFit as error:
                refusals[part] = str(error)
        assumptions += [
            f"Rates: {hardware.device.source}; {PREFILL:.0%} of its operations in prefill, {TRAINING:.0%} in "
            f"training, {DECODING:.0%} of its bandwidth in decoding. None of this was measured on a GPU.",
            f"Starts: {ENGINE_START_S:.0f} s for an engine, {TRAINER_START_S:.0f} s for a training.",
        ]
        if hardware.nodes > 1:
            assumptions.append(
                "Times on several machines: one trains, all generate (`vllm serve` on each, `url` lists "
                "them). With Ray all can train (SAND_TRAINING_NODES)."
            )
    else:
        assumptions.append(f"Rates: {CORE.source}; idle cores.")
    rates = Rates(shape, means, hardware, generation, trainings)
    stages: list[StageEstimate] = []
    for iteration in experiment.partitions[: experiment.partitions.index(until) + 1]:
        stages += _iteration(experiment, iteration, shape, means, rates)
    if calibrate is not None:
        factor = _slowness(stages, measured_seconds(home, experiment.name, calibrate))
        stages = [replace(stage, seconds=factor * stage.seconds) for stage in stages]
        assumptions.append(
            f"This machine took {factor:.2f} times as long as these rates say, for the stages that have run "
            f"until iteration {calibrate}; all times are scaled by that."
        )
    return Estimate(
        experiment.name,
        hardware,
        shape.parameters,
        stages,
        generation,
        trainings.get(_SFT),
        plans,
        refusals,
        assumptions,
    )


def _trainings(experiment: Experiment) -> dict[str, FinetuningSettings]:
    """The settings of the experiment's trainings, as memory is planned by them."""
    pairs = {_DPO: for_pairs(experiment.preference_tuning)} if experiment.variant == "eto" else {}
    return {_SFT: experiment.finetuning, **pairs}


def _iteration(
    experiment: Experiment, iteration: str, shape: ModelShape, means: Lengths, rates: Rates
) -> Iterator[StageEstimate]:
    k = int(iteration)
    acts = k > 0 and experiment.variant != "more_sft" and not experiment.explores
    turn = means.acting if k > 1 else means.turn
    demonstrations, steps = means.trajectories, means.trajectories * means.steps
    per_step = turn + means.observation
    whole = means.opening + means.steps * per_step
    disagreeing = steps * means.deliberating
    rolled = disagreeing * means.candidates

    def generating(
        stage: str, units: float, prefill: float, completion: float, played: float, starts: float = 0.0
    ) -> StageEstimate:
        environment = played * means.step_seconds
        seconds = rates.generate(prefill, completion, units)
        cores = rates.hardware.devices if rates.hardware.on_cpu else 16 * rates.hardware.nodes
        return StageEstimate(
            iteration,
            stage,
            round(units),
            round(prefill),
            round(completion),
            environment,
            max(seconds, environment / cores) + starts,
            round(6 * (prefill * 0.2 + completion)),
            rates.hardware.gpus,
        )

    if acts:
        if experiment.variant != "without_sampling":
            yield generating(
                "candidate_actions",
                steps,
                demonstrations * whole,
                steps * experiment.sampling.n * turn,
                0.0,
                0.0 if rates.hardware.on_cpu else rates.engine_start,
            )
        if experiment.variant != "without_critique":
            yield generating(
                "rollouts",
                rolled,
                demonstrations * whole + rolled * means.rollout_steps * means.observation,
                rolled * means.rollout_steps * turn,
                rolled * (means.rollout_steps + means.steps / 2),
            )
            yield generating(
                "critiques",
                rolled,
                rolled * means.critique_prompt,
                rolled * means.critique,
                0.0,
                rates.engine_start,
            )
        yield generating(
            "deliberation_trajectories",
            disagreeing,
            disagreeing * means.deliberation_prompt,
            disagreeing * means.deliberation,
            0.0,
        )
    explored = demonstrations * experiment.explorations.n if k > 0 and experiment.explores else 0.0
    if explored:
        yield generating(
            "explorations",
            explored,
            explored * (means.opening + means.test_steps * means.observation),
            explored * means.test_steps * means.turn,
            explored * means.test_steps,
            rates.engine_start,
        )
    prefers = bool(explored) and experiment.variant == "eto"
    epochs = experiment.eto.epochs if prefers else experiment.finetuning.epochs_of(k)
    deliberated = disagreeing * means.deliberation if acts else 0.0
    # At most: each exploration wins (RFT), or makes a pair with an expert's trajectory (ETO).
    played = explored * (means.opening + means.test_steps * (means.turn + means.observation))
    tokens = epochs * ((explored if prefers else demonstrations) * whole + deliberated + played)
    examples = explored if prefers else demonstrations + explored
    part = _DPO if prefers else _SFT
    settings = _trainings(experiment)[part]
    optimizer_steps = epochs * examples / settings.batch_size
    checkpoint = 2 * shape.parameters if not rates.hardware.on_cpu else 4 * shape.parameters
    trained = rates.train(part, tokens, optimizer_steps, checkpointing=settings.gradient_checkpointing)
    yield StageEstimate(
        iteration,
        "checkpoints",
        1,
        round(tokens),
        0,
        0.0,
        rates.trainer_start + (trained if epochs else 0.0),
        checkpoint,
        rates.hardware.gpus,
    )
    tested = means.first_test_steps if k == 0 else means.test_steps
    turn_tokens = means.turn if k == 0 else means.acting
    yield generating(
        "eval_episodes",
        means.tasks,
        means.tasks * (means.opening + tested * means.observation),
        means.tasks * tested * turn_tokens,
        means.tasks * tested,
        rates.engine_start,
    )
    if experiment.search is not None:
        # Each mode takes N samples of a turn; best-of-N also plays N episodes.
        n, modes = experiment.search.n, experiment.search.modes
        samples = means.tasks * n * len(modes)
        episodes = means.tasks * sum(1 if mode is SearchMode.VOTE else n for mode in modes)
        yield generating(
            "search_episodes",
            samples,
            episodes * (means.opening + tested * means.observation),
            samples * tested * turn_tokens,
            episodes * tested,
        )


def _slowness(stages: Sequence[StageEstimate], measured: Mapping[tuple[str, str], float]) -> float:
    """The measured time of finished stages divided by the estimate; 1 if nothing was measured."""
    both = [each for each in stages if (each.iteration, each.stage) in measured]
    expected = sum(each.seconds for each in both)
    return sum(measured[each.iteration, each.stage] for each in both) / expected if expected else 1.0


def measured_seconds(home: Path, experiment: str, until: str) -> dict[tuple[str, str], float]:
    """Seconds of a finished run's stages, by iteration and stage, each from the end of the one before it."""
    store = ArtifactStore(home, experiment)
    once: list[tuple[str, str | None]] = [
        (name, None) for name, table in TABLES.items() if not table.partitioned
    ]
    keys = [f"{number:02}" for number in range(int(until) + 1)]
    each = [(name, key) for key in keys for name, table in TABLES.items() if table.partitioned]
    manifests = [(store.manifest(name, key), key or "", name) for name, key in (*once, *each)]
    ends = [(made.created_at, made.run_id, key, name) for made, key, name in manifests if made is not None]
    ends.sort()
    found: dict[tuple[str, str], float] = {}
    for before, after in pairwise(ends):
        if before[1] == after[1]:  # within one run there is no pause between stages
            found[after[2], after[3]] = (after[0] - before[0]).total_seconds()
    return found
