"""The algorithm's knobs: one exists where the paper leaves a choice open or says two things."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sand_dagster.rows.search import SearchMode


class Settings(BaseModel):
    """A section of an experiment: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SamplingSettings(Settings):
    """Self-consistency action sampling, Section 4.2."""

    n: int = Field(5, ge=1, description="N: actions sampled from the policy at every step (Eq. 3)")
    temperature: float = Field(1.0, ge=0, description="temperature of these samples")


class RolloutSettings(Settings):
    """Execution of the candidates, Section 4.3."""

    temperature: float = Field(1.0, ge=0, description="temperature at which the policy plays a candidate out")
    expert_rollout: Literal["policy", "demonstration"] = Field(
        "policy", description="who continues after the expert's own candidate"
    )


class CritiqueSettings(Settings):
    """Execution-guided action critique, Eq. 5."""

    temperature: float = Field(0.0, ge=0, description="temperature of the first attempt")
    retry_temperature: float = Field(0.7, ge=0, description="temperature of the one retry")
    max_new_tokens: int = Field(256, ge=1, description="tokens a critique may have")


class DeliberationSettings(Settings):
    """Action deliberation synthesis, Eq. 6, and what the next iteration is handed."""

    temperature: float = Field(0.0, ge=0, description="temperature of the first attempt")
    retry_temperature: float = Field(0.7, ge=0, description="temperature of the one retry")
    max_new_tokens: int = Field(768, ge=1, description="tokens a deliberation may have")
    constrain_to_candidates: bool = Field(
        False,
        description="let the list name each candidate once, by constrained decoding: for a base model too "
        "small to copy them; an endpoint has to be vLLM's",
    )
    require_expert_action: bool = Field(
        False,
        description="take only deliberations whose rationale names the expert's action word for word: for a "
        "base model too small to follow Figure 6 to it each time",
    )
    carry_over: Literal["previous", "original"] = Field(
        "previous",
        description="thoughts of D_exp from iteration 02 on: last iteration's deliberations, or the expert's",
    )
    expert_switch: Literal["never", "higher_reward", "higher_reward_or_shorter"] = Field(
        "never", description="when a rollout replaces the demonstration from its step on (Section 4.4)"
    )


class ExplorationSettings(Settings):
    """The policy's own episodes on the training tasks, for variants rft and eto. The defaults are ETO's."""

    n: int = Field(1, ge=1, description="variants rft and eto: episodes that the policy plays of each task")
    temperature: float = Field(0.0, ge=0, description="temperature of these episodes' turns")


class EtoSettings(Settings):
    """DPO on pairs of trajectories, for variant eto. The defaults are those of ETO's first iteration."""

    beta: float = Field(0.1, gt=0, description="β of DPO: how much the policy is held to π_k, its reference")
    learning_rate: float = Field(1e-6, gt=0, description="peak learning rate of AdamW in DPO")
    batch_size: int = Field(32, ge=1, description="pairs for each optimiser step of DPO, over all devices")
    epochs: int = Field(3, ge=1, description="passes over the pairs in each iteration from 01 on")


class SearchSettings(Settings):
    """Test-time search of every checkpoint, beside the plain evaluation (Section 6.5, Appendix B)."""

    modes: tuple[SearchMode, ...] = Field(
        tuple(SearchMode),
        min_length=1,
        description="oracle_best_of_n: N episodes of each test task, of which the one with the highest "
        "reward counts; an upper bound, because the environment picks it and no model. vote: at every step "
        "the action that most of N samples choose",
    )
    n: int = Field(5, ge=1, description="N: episodes of a task, or samples of a step")
    temperature: float = Field(1.0, ge=0, description="temperature of these samples")


TaskInstruction = Literal["task", "full"]
"""What `{task_instruction}` of Figures 5 and 6 stands for: u, or u in the agent's own prompt."""


class AlgorithmSettings(Settings):
    """All knobs of Algorithm 1 as `algorithm.py` runs it. The defaults are the paper's (Section 5.1)."""

    iterations: int = Field(3, ge=0, description="I: iterations after behaviour initialisation")
    sampling: SamplingSettings = SamplingSettings()
    rollouts: RolloutSettings = RolloutSettings()
    critiques: CritiqueSettings = CritiqueSettings()
    deliberation: DeliberationSettings = DeliberationSettings()
    task_instruction: TaskInstruction = Field(
        "task", description="what the prompts of Figures 5 and 6 state: the task, or the agent's whole prompt"
    )
    epochs: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (3, 3, 1), min_length=1, description="epochs of iteration 00, 01, ...; the last goes for later ones"
    )
    finetuning: str = Field("", description="the trainer's settings as JSON: part of a checkpoint's id")
    max_new_tokens: int = Field(768, ge=1, description="tokens one turn of the agent may have")
    seed: int = Field(0, ge=0, description="every sampling seed is derived from it")
    max_concurrency: int = Field(64, ge=1, description="units of work at once; decides no row")


def epochs_of(epochs: Sequence[int], iteration: int) -> int:
    """Epochs of `iteration` (0 is behaviour initialisation); the last entry goes for all later ones."""
    return epochs[min(iteration, len(epochs) - 1)]
