"""Scores of test-time search: reward beside tokens, for each number of samples (Section 6.5, Appendix B)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from sand_dagster.evaluation.statistics import bootstrap_interval
from sand_dagster.ids import identify
from sand_dagster.rows.search import SearchEpisodeRow, SearchMode, SearchScoreRow


def search_scores(episodes: Iterable[SearchEpisodeRow], protocol: str, seed: int) -> list[SearchScoreRow]:
    """The scores of every mode and split; of oracle best-of-N with a task's first 1, 2, ... N episodes."""
    ordered = sorted(episodes, key=lambda each: (each.mode, each.split))
    return [
        row
        for (mode, split), group in groupby(ordered, key=lambda each: (each.mode, each.split))
        for row in _of_split(list(group), mode, split, protocol, seed)
    ]


def _of_split(
    episodes: Sequence[SearchEpisodeRow], mode: SearchMode, split: str, protocol: str, seed: int
) -> Iterator[SearchScoreRow]:
    n = episodes[0].n
    for samples in [n] if mode is SearchMode.VOTE else range(1, n + 1):
        counted = [each for each in episodes if each.sample < samples]
        by_task: dict[str, list[SearchEpisodeRow]] = {}
        for each in counted:
            by_task.setdefault(each.task_id, []).append(each)
        rewards = [max(each.reward for each in played) for played in by_task.values()]
        low, high = bootstrap_interval(rewards, seed)
        ids = tuple(each.search_episode_id for each in counted)
        checkpoint = episodes[0].checkpoint_id
        yield SearchScoreRow(
            search_score_id=identify("search_scores", checkpoint, mode.value, samples, split, protocol, ids),
            checkpoint_id=checkpoint,
            search_episode_ids=ids,
            mode=mode,
            samples=samples,
            split=split,
            protocol=protocol,
            tasks=len(rewards),
            average_reward=sum(rewards) / len(rewards),
            reward_low=low,
            reward_high=high,
            success_rate=sum(reward >= 1.0 for reward in rewards) / len(rewards),
            tokens_per_task=sum(each.completion_tokens for each in counted) / len(rewards),
            prompt_tokens_per_task=sum(each.prompt_tokens for each in counted) / len(rewards),
        )
