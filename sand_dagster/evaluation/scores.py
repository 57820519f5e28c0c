"""A split's scores: the average reward and other figures of its episodes (Section 5.1, Figure 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from sand_dagster.evaluation.statistics import bootstrap_interval
from sand_dagster.ids import identify
from sand_dagster.rows.evaluation import EpisodeRow, ScoreRow


def score(
    episodes: Sequence[EpisodeRow], checkpoint_id: str, split: str, protocol: str, seed: int
) -> ScoreRow:
    """The scores of one split's episodes (at least one).

    `deliberation_rate` is taken over all steps of the split; Figure 3's two figures, `reward_per_step` and
    `deliberation_per_step`, are means over its tasks (Section 6.3).
    """
    rewards = [episode.reward for episode in episodes]
    steps = sum(len(episode.steps) for episode in episodes)
    low, high = bootstrap_interval(rewards, seed)

    def rate(count: Callable[[EpisodeRow], int]) -> float:
        return sum(map(count, episodes)) / steps if steps else 0.0

    def per_step(value: Callable[[EpisodeRow], float]) -> float:
        # The context may be full before the first step: such a task has no reward and no deliberation.
        return fmean(value(episode) / max(len(episode.steps), 1) for episode in episodes)

    episode_ids = tuple(episode.episode_id for episode in episodes)
    return ScoreRow(
        score_id=identify("eval_scores", checkpoint_id, split, protocol, episode_ids),
        checkpoint_id=checkpoint_id,
        episode_ids=episode_ids,
        split=split,
        protocol=protocol,
        tasks=len(episodes),
        average_reward=sum(rewards) / len(rewards),
        reward_low=low,
        reward_high=high,
        success_rate=sum(reward >= 1.0 for reward in rewards) / len(rewards),
        deliberation_rate=rate(lambda episode: episode.deliberations),
        reward_per_step=per_step(lambda episode: episode.reward),
        deliberation_per_step=per_step(lambda episode: episode.deliberations),
        tokens_per_task=sum(episode.completion_tokens for episode in episodes) / len(episodes),
        steps_per_task=steps / len(episodes),
        invalid_rate=rate(lambda episode: episode.invalid_actions),
        unparsed_rate=rate(lambda episode: episode.unparsed),
    )
