"""With real vLLM and environments, candidates and rollouts do not depend on how the work is distributed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from sand_dagster.environments import environment_kind
from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.execution.journal import Journal
from sand_dagster.execution.units import Stage
from sand_dagster.models.engines import Engines
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.rows.candidates import CandidateRow, RolloutRow
from sand_dagster.sand.candidates import sample_candidates
from sand_dagster.sand.episode import Agent
from sand_dagster.sand.rollouts import roll_out
from sand_dagster.sand.settings import RolloutSettings, SamplingSettings
from sand_dagster.sand.trajectories import demonstrations_of, expert_rows, next_demonstrations
from toy_alfworld.model import weights

KIND = environment_kind("household")


async def play(
    engines: Engines, home: Path, temperature: float, workers: int, max_concurrency: int
) -> tuple[list[CandidateRow], list[RolloutRow]]:
    options = KIND.Options.model_validate({"train": 2, "seen": 0, "unseen": 0})
    tasks = [task for task in KIND.tasks(options, home, lambda *_: None) if task.split == "train"]
    experts = expert_rows(KIND.experts(options, home, tasks, lambda *_: None))
    demonstrations = demonstrations_of(next_demonstrations("01", experts, None))[:2]
    settings = GenerationSettings(max_model_len=4096, kv_cache_gib=0.5)
    spread = f"{workers}-{max_concurrency}-{temperature}"
    async with (
        engines.open(ModelSource(model=str(weights())), settings) as model,
        EnvironmentPool("household", options, home, workers) as pool,
    ):
        agent = Agent("policy", model, KIND.DOMAIN, 64)
        with closing(Journal(home / f"candidates-{spread}")) as journal:
            stage = Stage(journal, max_concurrency, lambda *_: None, "01", 0)
            sampled = await sample_candidates(stage, demonstrations, agent, SamplingSettings(n=2))
            candidates = [row for rows in sampled.rows for row in rows]
        with closing(Journal(home / f"rollouts-{spread}")) as journal:
            stage = Stage(journal, max_concurrency, lambda *_: None, "01", 0)
            played = await roll_out(
                stage,
                candidates[:12],
                demonstrations,
                {task.id: task for task in tasks},
                pool,
                agent,
                RolloutSettings(temperature=temperature),
            )
            return candidates, [row for rows in played.rows for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_same_rollouts_with_one_worker_and_with_two(
    engines: Engines, tmp_path: Path, temperature: float
) -> None:
    one = engines.run(play(engines, tmp_path, temperature, workers=1, max_concurrency=3))
    two = engines.run(play(engines, tmp_path, temperature, workers=2, max_concurrency=64))
    assert one == two
    assert len(one[1]) > 4
