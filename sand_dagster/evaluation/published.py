"""The paper's own average rewards (Tables 2, 3 and 6), for the experiments of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from sand_dagster.evaluation.table1 import TASKS
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.experiments.loading import load_experiment

Method = Literal["base", "sft", "sand_1", "sand_2", "sand_3", "without_sampling", "without_critique", "eto"]

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
QWEN = "Qwen/Qwen2.5-7B-Instruct"


class _Row(NamedTuple):
    """A row of Table 2 or 3, in its own columns, and Table 6's figure: average rewards times 100.

    None: the paper has no figure, or no shipped profile is that experiment.
    """

    scienceworld_seen: float | None
    scienceworld_unseen: float | None
    alfworld_seen: float
    alfworld_unseen: float
    webshop_unseen: float | None = None


PUBLISHED: dict[tuple[str, Method], _Row] = {
    # Table 2, and Table 6 for WebShop
    (LLAMA, "base"): _Row(47.7, 42.2, 22.9, 28.4, 55.3),
    (LLAMA, "sft"): _Row(75.6, 65.1, 79.3, 71.6, 65.4),
    (LLAMA, "sand_1"): _Row(86.6, 77.5, 92.9, 91.8, 68.5),
    (LLAMA, "sand_2"): _Row(88.7, 78.2, 94.3, 94.0, 72.4),
    (LLAMA, "sand_3"): _Row(85.7, 79.1, 94.3, 96.3, 71.8),
    (LLAMA, "eto"): _Row(None, None, 77.1, 76.4),
    (QWEN, "base"): _Row(38.5, 38.8, 71.4, 75.4),
    (QWEN, "sft"): _Row(69.2, 60.8, 72.1, 75.4),
    (QWEN, "sand_1"): _Row(80.9, 67.2, 85.7, 85.0),
    (QWEN, "sand_2"): _Row(83.2, 69.9, 85.0, 89.6),
    (QWEN, "sand_3"): _Row(84.0, 69.0, 90.7, 94.8),
    # Table 3, iteration 1
    (LLAMA, "without_sampling"): _Row(70.3, 62.0, 85.7, 77.3),
    (LLAMA, "without_critique"): _Row(78.6, 73.7, 85.0, 86.6),
    (QWEN, "without_sampling"): _Row(63.5, 52.4, 72.1, 62.7),
    (QWEN, "without_critique"): _Row(72.0, 66.3, 70.6, 75.0),
}

_PROFILES = {
    ("alfworld", LLAMA): "alfworld-llama31-8b",
    ("alfworld", QWEN): "alfworld-qwen25-7b",
    ("scienceworld", LLAMA): "scienceworld-llama31-8b",
    ("scienceworld", QWEN): "scienceworld-qwen25-7b",
    ("webshop", LLAMA): "webshop-llama31-8b",
}
_TASKS = {**TASKS, "webshop": {"unseen": 200}}
"""By environment and split: those of Table 1, and ETO's test goals of WebShop."""
_METHODS: dict[tuple[str, str], Method] = {
    ("base", "00"): "base",
    ("full", "00"): "sft",
    ("full", "01"): "sand_1",
    ("full", "02"): "sand_2",
    ("full", "03"): "sand_3",
    ("without_sampling", "00"): "sft",
    ("without_sampling", "01"): "without_sampling",
    ("without_critique", "00"): "sft",
    ("without_critique", "01"): "without_critique",
    ("eto", "03"): "eto",
}
"""By variant and iteration; base: a full experiment without finetuning."""
_SUFFIXES = {"without_sampling": "-without-sampling", "without_critique": "-without-critique", "eto": "-eto"}
"""What a profile's name ends in, by variant."""
_NO_FINETUNING = (0,)
_OWN: dict[str, Any] = {
    "name": True,
    "description": True,
    "seed": True,
    "iterations": True,
    "variant": True,
    "search": True,
    "finetuning": {"epochs", "per_device_batch_size", "gradient_checkpointing"},
    "environment": {"options": {"grammar"}},
}
"""Fields that may differ from the shipped profile: ALFWorld's two grammars mean the same, and how a
finetuning fits into memory does not change it, nor does test-time search beside it. Variant and epochs are
checked separately."""


def best_of_sand(column: str) -> float:
    """The best figure of SAND with 8 B over its iterations, times 100, in a column of `_Row`."""
    methods: tuple[Method, ...] = ("sand_1", "sand_2", "sand_3")
    figures: list[float] = [getattr(PUBLISHED[LLAMA, method], column) for method in methods]
    return max(figures)


def published_reward(
    experiment: Experiment, iteration: str, split: str, tasks: int, home: Path
) -> float | None:
    """The paper's average reward, in [0, 1], for `iteration` of `experiment`; None: the paper has none.

    There is one only if the experiment equals a shipped profile of the paper in every field that could change
    the figure (its seed and paths may differ), and `tasks` is the size of the full published split.

    Raises:
        ExperimentError: the shipped profile cannot be used.
    """
    kind, base = experiment.environment.kind, experiment.model.base
    profile = _PROFILES.get((kind, base))
    if profile is None or tasks != _TASKS[kind].get(split):
        return None
    unchanged = experiment.variant == "full" and experiment.finetuning.epochs == _NO_FINETUNING
    method = _METHODS.get(("base" if unchanged else experiment.variant, iteration))
    row = PUBLISHED.get((base, method)) if method else None
    figure: float | None = getattr(row, f"{kind}_{split}", None)
    if figure is None:
        return None
    papers = load_experiment(f"{profile}{_SUFFIXES.get(experiment.variant, '')}", home)
    same_epochs = unchanged or experiment.finetuning.epochs == papers.finetuning.epochs
    return figure / 100 if same_epochs and _decisive(experiment) == _decisive(papers) else None


def _decisive(experiment: Experiment) -> dict[str, Any]:
    """The fields that decide whether the experiment is the paper's; for files, only whether they are set."""
    fields = experiment.model_dump(exclude=_OWN)
    options = fields["environment"]["options"]
    fields["environment"]["options"] = {
        name: "a path" if isinstance(value, Path) else value for name, value in options.items()
    }
    return fields
