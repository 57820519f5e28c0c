"""Algorithm 1 in memory and the Dagster assets give the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.rows.candidates import CandidateRow, CritiqueRow, RolloutRow
from sand_dagster.rows.row import Row
from sand_dagster.rows.steps import DeliberationRow, DemonstrationRow
from sand_dagster.sand.algorithm import Iteration
from sand_dagster.types import Message
from tests.assets.pipeline import Finetuning, InProcess, Pipeline, Scripted
from tests.docs.blocks import shown


@dataclass(frozen=True)
class _Trainer:
    experiment: Experiment

    def finetune(
        self, conversations: Sequence[Sequence[Message]], parent: Path, output: Path, seed: int, epochs: int
    ) -> Mapping[str, object]:
        report = Finetuning().finetune(
            self.experiment, conversations, parent=parent, output=output, seed=seed, epochs=epochs
        )
        return report.model_dump()


def _rows(iteration: Iteration) -> dict[type[Row], Sequence[Row]]:
    return {
        DemonstrationRow: iteration.demonstrations,
        CandidateRow: iteration.candidates,
        RolloutRow: iteration.rollouts,
        CritiqueRow: iteration.critiques,
        DeliberationRow: iteration.deliberations,
    }


@pytest.mark.parametrize("changed", ["", "deliberation: {carry_over: original}", "task_instruction: full"])
def test_the_function_gives_the_rows_that_the_assets_give(
    pipeline: Pipeline, tmp_path: Path, changed: str
) -> None:
    pipeline.configure(changed)
    for iteration in ("00", "01", "02"):
        pipeline.materialise(iteration=iteration)
    experiment = pipeline.experiment
    # The function in docs/algorithm.md that calls the algorithm.
    iterations = shown("run")(
        experiment, pipeline.home, tmp_path / "out", Scripted(), InProcess(), _Trainer(experiment)
    )
    assert len(iterations) == 3
    for k, iteration in enumerate(iterations):
        for kind, rows in _rows(iteration).items():
            assert list(rows) == list(rows_of(pipeline.store, kind, f"{k:02}")), (kind, k)
            assert rows or (k == 0 and kind in (CandidateRow, RolloutRow, CritiqueRow))
        assert any(row.deliberated for row in iteration.deliberations) == (k > 0)
    assert [i.policy.model_id for i in iterations] == [
        pipeline.store.read("checkpoints", f"{k:02}")["model_id"].item() for k in range(3)
    ]
    assert [i.policy.id for i in iterations[:2]] == [
        pipeline.store.read("policy", f"{k:02}")["policy_id"].item() for k in (1, 2)
    ]
