"""The benchmark's experiment is one whose rows can be traced."""

from __future__ import annotations

from pathlib import Path

from sand_dagster.artifacts.lineage import Lineage
from sand_dagster.artifacts.orphans import orphans
from sand_dagster.bench.lineage import ITERATIONS, NAME, run


def test_few_rows_are_traced_as_many_would_be(tmp_path: Path) -> None:
    report = run(3000, tmp_path, lambda done, total: None)
    assert 2000 < report.rows < 12_000 and report.links_mb >= 0
    assert {each.question.split()[0] for each in report.measured} == {"trace", "ask"}
    assert all(each.found > 1 and each.peak_mb > 50 for each in report.measured)
    lineage = Lineage(tmp_path, NAME)
    assert orphans(lineage.database).is_empty()
    score = lineage.query("SELECT score_id FROM eval_scores ORDER BY iteration DESC")["score_id"][0]
    tables = {each.table for each in lineage.reached(lineage.node(score), up=True)}
    assert {"expert_data", "rollouts", "critiques", "base_model", "checkpoints"} <= tables
    assert len(lineage.query("FROM eval_scores")) == ITERATIONS
