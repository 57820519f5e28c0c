"""One experiment with several seeds: an experiment of its own for each, in the user's folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from sand_dagster.experiments.experiment import Experiment
from sand_dagster.experiments.loading import ExperimentError, load_experiment
from sand_dagster.files import write_text

_PART = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_MOST = 100
OWN = frozenset({"name", "description", "seed", "control_for"})
"""The fields in which experiments of one arm differ, a seed each."""


def parse_seeds(text: str) -> list[int]:
    """The seeds in `text`, such as `0-4` or `0,2,5`, in the given order.

    Raises:
        ValueError: it is something else, names a seed twice, or more than 100.
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"seeds are numbers such as 0-4 or 0,2,5, found {text!r}")
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < first + _MOST:
            raise ValueError(f"{part.strip()!r} is not a range of at most {_MOST} seeds, lowest first")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds) or len(seeds) > _MOST:
        raise ValueError(f"{text!r} names a seed twice, or more than {_MOST} seeds")
    return seeds


def named(experiment: Experiment, seed: int) -> str:
    """The name of `experiment` with `seed`: its own name, if that is its seed."""
    return experiment.name if seed == experiment.seed else f"{experiment.name}-seed-{seed}"


def with_seeds(name: str, seeds: Sequence[int], home: Path) -> list[str]:
    """The names of the experiment `name` with each of `seeds`. Missing experiment files are written.

    A control is compared with the experiment of the same seed, which is written too.

    Raises:
        ExperimentError: there is no such experiment, or a file of that name holds something else.
    """
    experiment = load_experiment(name, home)
    return [_with_seed(experiment, seed, home) for seed in seeds]


def _with_seed(experiment: Experiment, seed: int, home: Path) -> str:
    name = named(experiment, seed)
    if name == experiment.name:
        return name
    values: dict[str, object] = {
        "description": f"{experiment.name} with seed {seed}. Written by `--seeds`.",
        "extends": experiment.name,
        "seed": seed,
    }
    if experiment.control_for is not None:
        values["control_for"] = _with_seed(load_experiment(experiment.control_for, home), seed, home)
    file = home / "experiments" / f"{name}.yaml"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, yaml.safe_dump(values, sort_keys=False))
    found = load_experiment(name, home)
    if found.seed != seed or found.model_dump(exclude={*OWN}) != experiment.model_dump(exclude={*OWN}):
        raise ExperimentError(
            f"{file} is not {experiment.name} with seed {seed}: it changes other fields too. Rename it, or "
            "run it under its own name"
        )
    return name
