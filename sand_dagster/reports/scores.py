"""The tables of scores: Tables 2, 3 and 4, Figure 3's figures, and scores by task type."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from sand_dagster.evaluation.published import published_reward
from sand_dagster.evaluation.statistics import sign_flip_p
from sand_dagster.evaluation.table4 import published_tokens
from sand_dagster.reports.subjects import Evaluation, Subject
from sand_dagster.reports.table import Cell, Column, Table, Unit
from sand_dagster.rows.evaluation import EpisodeRow

_PLACE = (Column("experiment"), Column("iteration"), Column("method"), Column("split"))
_PAPERS, _FROM_PAPERS = "the paper's", "ours − paper's"


def table2(subjects: Sequence[Subject], home: Path) -> Table:
    """Average reward of every experiment, iteration and split (Table 2)."""
    rows: list[list[Cell]] = []
    for each in _all(subjects):
        papers = published_reward(
            each.subject.experiment, each.iteration, each.split, each.scores.tasks, home
        )
        ours = each.scores.average_reward
        rows.append(
            [
                *each.place,
                each.scores.tasks,
                ours,
                (each.scores.reward_low, each.scores.reward_high),
                papers,
                None if papers is None else ours - papers,
                each.scores.success_rate,
                each.scores.deliberation_rate,
                each.scores.protocol,
            ]
        )
    return Table(
        "table-2",
        "Average reward by iteration and split (Table 2)",
        "The interval is the 95 % bootstrap interval over tasks. The paper's figure is given where the "
        "experiment is one of the paper, on all of its test tasks. Success: tasks with reward 1. "
        "Deliberates: the share of steps with a deliberation.",
        (
            *_PLACE,
            Column("tasks", Unit.COUNT),
            Column("average reward", Unit.PERCENT),
            Column("95 % interval", Unit.PERCENT_INTERVAL),
            Column(_PAPERS, Unit.PERCENT),
            Column(_FROM_PAPERS, Unit.POINTS),
            Column("success", Unit.PERCENT),
            Column("deliberates", Unit.PERCENT),
            Column("protocol"),
        ),
        rows,
    ).without_empty(_PAPERS, _FROM_PAPERS)


def table3(subjects: Sequence[Subject], home: Path) -> Table | None:
    """Variants and controls against the full algorithm (Table 3); None if there is none to compare.

    A variant is compared with the first experiment of the report that is full SAND and has the same
    environment and base model.
    """
    rows: list[list[Cell]] = []
    for subject in subjects:
        full = _full(subject, subjects)
        if full is None:
            continue
        theirs = {(each.iteration, each.split): each for each in full.evaluations}
        for each in subject.evaluations:
            against = theirs.get((each.iteration, each.split))
            if each.iteration == "00" or against is None:
                continue
            pairs = _paired(each.episodes, against.episodes)
            rows.append(
                [
                    *each.place,
                    each.scores.average_reward,
                    (each.scores.reward_low, each.scores.reward_high),
                    published_reward(
                        subject.experiment, each.iteration, each.split, len(each.episodes), home
                    ),
                    f"{full.name} {each.iteration}",
                    against.scores.average_reward,
                    len(pairs),
                    fmean(pairs) if pairs else None,
                    subject.interval(pairs) if pairs else None,
                    sign_flip_p(pairs) if pairs else None,
                ]
            )
    if not rows:
        return None
    return Table(
        "table-3",
        "Variants and controls (Table 3)",
        "Each beside full SAND in the same iteration, over the same tasks. The difference is the variant's "
        "average reward minus that of full SAND; p: paired permutation test.",
        (
            *_PLACE,
            Column("average reward", Unit.PERCENT),
            Column("95 % interval", Unit.PERCENT_INTERVAL),
            Column(_PAPERS, Unit.PERCENT),
            Column("against"),
            Column("its reward", Unit.PERCENT),
            Column("pairs", Unit.COUNT),
            Column("difference", Unit.POINTS),
            Column("its 95 % interval", Unit.POINTS_INTERVAL),
            Column("p", Unit.P_VALUE),
        ),
        rows,
    ).without_empty(_PAPERS)


def table4(subjects: Sequence[Subject], home: Path) -> Table:
    """Completion tokens a task beside the reward, over all test tasks of an iteration (Table 4)."""
    rows: list[list[Cell]] = []
    for subject in subjects:
        first = subject.episodes.get("00")
        before = _tokens(first) if first else 0.0
        for iteration, episodes in subject.episodes.items():
            sizes = {
                split: sum(episode.split == split for episode in episodes)
                for split in sorted({episode.split for episode in episodes})
            }
            tokens = _tokens(episodes)
            rewards = [episode.reward for episode in episodes]
            rows.append(
                [
                    subject.name,
                    iteration,
                    subject.method(iteration),
                    len(episodes),
                    tokens,
                    subject.interval([episode.completion_tokens for episode in episodes]),
                    tokens / before if before else None,
                    published_tokens(subject.experiment, iteration, sizes, home),
                    fmean(rewards),
                    subject.interval(rewards),
                    fmean(len(episode.steps) for episode in episodes),
                ]
            )
    return Table(
        "table-4",
        "Tokens a task, beside the reward (Table 4)",
        "Completion tokens of an episode, over the test tasks of all splits, with 95 % bootstrap intervals. "
        "The factor is relative to the experiment's own iteration 00. Read it with the reward: an agent that "
        "gives up early is cheap.",
        (
            *_PLACE[:3],
            Column("tasks", Unit.COUNT),
            Column("tokens a task", Unit.DECIMAL),
            Column("95 % interval", Unit.DECIMAL_INTERVAL),
            Column("relative to 00", Unit.FACTOR),
            Column(_PAPERS, Unit.DECIMAL),
            Column("average reward", Unit.PERCENT),
            Column("its 95 % interval", Unit.PERCENT_INTERVAL),
            Column("steps a task", Unit.DECIMAL),
        ),
        rows,
    ).without_empty(_PAPERS)


def figure3(subjects: Sequence[Subject]) -> Table:
    """Reward a step and deliberations a step (Figure 3)."""
    rows: list[list[Cell]] = []
    for each in _all(subjects):
        steps = [max(len(episode.steps), 1) for episode in each.episodes]
        rewards = [episode.reward / count for episode, count in zip(each.episodes, steps, strict=True)]
        rates = [episode.deliberations / count for episode, count in zip(each.episodes, steps, strict=True)]
        rows.append(
            [
                *each.place,
                each.scores.reward_per_step,
                each.subject.interval(rewards),
                each.scores.deliberation_per_step,
                each.subject.interval(rates),
            ]
        )
    return Table(
        "figure-3",
        "Reward a step and deliberation a step (Figure 3)",
        "Means over tasks of reward / steps, and of deliberating steps / steps, with 95 % bootstrap "
        "intervals.",
        (
            *_PLACE,
            Column("reward a step", Unit.RATE),
            Column("95 % interval", Unit.RATE_INTERVAL),
            Column("deliberation a step", Unit.RATE),
            Column("its 95 % interval", Unit.RATE_INTERVAL),
        ),
        rows,
    )


def by_type(subjects: Sequence[Subject]) -> Table:
    """The scores of each task type."""
    rows: list[list[Cell]] = []
    for each in _all(subjects):
        kinds = defaultdict[str, list[EpisodeRow]](list)
        for episode in each.episodes:
            kinds[episode.kind].append(episode)
        for kind, episodes in sorted(kinds.items()):
            rewards = [episode.reward for episode in episodes]
            steps = sum(len(episode.steps) for episode in episodes)
            rows.append(
                [
                    *each.place,
                    kind,
                    len(episodes),
                    fmean(rewards),
                    each.subject.interval(rewards),
                    sum(episode.deliberations for episode in episodes) / steps if steps else None,
                    steps / len(episodes),
                    sum(episode.invalid_actions for episode in episodes) / steps if steps else None,
                ]
            )
    return Table(
        "task-types",
        "By task type",
        "The interval is the 95 % bootstrap interval. With few tasks of a type it is wide; where all of them "
        "were won, or all lost, it is a point and says nothing.",
        (
            *_PLACE,
            Column("task type"),
            Column("tasks", Unit.COUNT),
            Column("average reward", Unit.PERCENT),
            Column("95 % interval", Unit.PERCENT_INTERVAL),
            Column("deliberates", Unit.PERCENT),
            Column("steps a task", Unit.DECIMAL),
            Column("refused actions", Unit.PERCENT),
        ),
        rows,
    )


def _all(subjects: Sequence[Subject]) -> list[Evaluation]:
    return [each for subject in subjects for each in subject.evaluations]


def _full(subject: Subject, among: Sequence[Subject]) -> Subject | None:
    """What a variant is measured by; None for full SAND itself."""
    if subject.experiment.variant == "full":
        return None
    return next(
        (
            other
            for other in among
            if other.experiment.variant == "full" and not other.is_base and subject.is_beside(other)
        ),
        None,
    )


def _paired(ours: Sequence[EpisodeRow], theirs: Sequence[EpisodeRow]) -> list[float]:
    """The differences of the rewards over the tasks that both have."""
    other = {episode.task_id: episode.reward for episode in theirs}
    return [episode.reward - other[episode.task_id] for episode in ours if episode.task_id in other]


def _tokens(episodes: Sequence[EpisodeRow]) -> float:
    return fmean(episode.completion_tokens for episode in episodes)
