"""Evaluation episodes as logs of inspect (the extra `inspect`): `inspect view` opens them.

One log for each split. A sample is an episode; its messages are the chat without the example that the
protocol `eto` puts before it. Rollouts, critiques and votes are not in it: inspect's log has no place for
what branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.exports.card import base_model, scores_of
from sand_dagster.exports.destination import ExportError
from sand_dagster.files import write_folder
from sand_dagster.ids import identify
from sand_dagster.interfaces import Domain
from sand_dagster.outcomes import Ended
from sand_dagster.prompts.turns import conversation
from sand_dagster.rows.evaluation import EpisodeRow, ScoreRow

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalResults, EvalSample
    from inspect_ai.model import ChatMessage

_REWARD = "reward"
_METRICS = ("average_reward", "reward_low", "reward_high", "success_rate", "deliberation_rate")


def write_inspect_logs(folder: Path, store: ArtifactStore, domain: Domain, iteration: str) -> int:
    """Write the episodes of an iteration as `folder`, a log for each split, completely or not at all.

    Returns how many episodes there are.

    Raises:
        ExportError: the package inspect-ai is not installed.
        MissingArtifact: the iteration was not evaluated.
        FileExistsError: there is something at `folder`.
        DiskFull: there was no space; nothing was left behind.
    """
    if find_spec("inspect_ai") is None:
        raise ExportError(
            "inspect's logs are written by the package inspect-ai, which is not installed: "
            "`pip install 'sand-dagster[inspect]'`"
        )
    from inspect_ai.log import write_eval_log

    episodes = list(rows_of(store, EpisodeRow, iteration))
    manifest = store.require(EpisodeRow.table, iteration)
    scores = {score.split: score for score in scores_of(store, iteration)}
    model = f"{store.experiment}-{iteration}"

    def write(temporary: Path) -> int:
        for split in sorted({episode.split for episode in episodes}):
            played = [episode for episode in episodes if episode.split == split]
            log = _log(store, domain, manifest, model, split, played, scores.get(split))
            name = (
                f"{manifest.created_at:%Y-%m-%dT%H-%M-%S}_{store.experiment}-{split}_{log.eval.task_id}.eval"
            )
            write_eval_log(log, str(temporary / name), format="eval")
        return len(episodes)

    return write_folder(folder, write)


def _log(
    store: ArtifactStore,
    domain: Domain,
    manifest: Manifest,
    model: str,
    split: str,
    episodes: Sequence[EpisodeRow],
    score: ScoreRow | None,
) -> EvalLog:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalPlan, EvalSpec, EvalStats
    from inspect_ai.model import ModelUsage

    at = manifest.created_at.isoformat()
    samples = [_sample(domain, episode, model) for episode in episodes]
    total = sum((sample.model_usage[model] for sample in samples), ModelUsage())
    spec = EvalSpec(
        eval_id=identify("inspect eval", manifest.content_hash, split),
        run_id=identify("inspect run", manifest.run_id),
        task_id=identify("inspect task", store.experiment, split),
        created=at,
        task=f"{store.experiment}-{split}",
        dataset=EvalDataset(
            name=f"{domain.name} {split}", samples=len(samples), sample_ids=[e.task_id for e in episodes]
        ),
        model=model,
        config=EvalConfig(),
        packages=dict(manifest.versions),
        metadata={
            "experiment": store.experiment,
            "iteration": manifest.iteration,
            "base_model": base_model(store),
            "data_version": manifest.content_hash,
            "protocol": "" if score is None else score.protocol,
            "seed": manifest.seed,
            "sand_run": manifest.run_id,
        },
    )
    return EvalLog(
        status="success",
        eval=spec,
        plan=EvalPlan(name="sand"),
        results=_results(episodes, score),
        stats=EvalStats(started_at=at, completed_at=at, model_usage={model: total}),
        samples=samples,
    )


def _results(episodes: Sequence[EpisodeRow], score: ScoreRow | None) -> EvalResults:
    """The stored aggregate; without one, the mean alone."""
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore

    mean = sum(episode.reward for episode in episodes) / len(episodes)
    values = {"average_reward": mean} if score is None else {name: getattr(score, name) for name in _METRICS}
    metrics = {name: EvalMetric(name=name, value=value) for name, value in values.items()}
    return EvalResults(
        total_samples=len(episodes),
        completed_samples=len(episodes),
        scores=[EvalScore(name=_REWARD, scorer=_REWARD, metrics=metrics)],
    )


def _sample(domain: Domain, episode: EpisodeRow, model: str) -> EvalSample:
    from inspect_ai.log import EvalSample, EvalSampleLimit
    from inspect_ai.model import ModelOutput, ModelUsage
    from inspect_ai.scorer import Score

    messages = _messages(domain, episode, model)
    usage = ModelUsage(
        input_tokens=episode.prompt_tokens,
        output_tokens=episode.completion_tokens,
        total_tokens=episode.prompt_tokens + episode.completion_tokens,
    )
    last = next((m.text for m in reversed(messages) if m.role == "assistant"), "")
    output = ModelOutput.from_content(model=model, content=last)
    output.usage = usage
    actions = [turn.action for turn in episode.steps]
    said = (
        f"{len(actions)} steps, ended by {episode.ended.value}; {episode.deliberations} deliberated, "
        f"{episode.invalid_actions} refused by the environment"
    )
    score = Score(value=episode.reward, answer=actions[-1] if actions else None, explanation=said)
    return EvalSample(
        id=episode.task_id,
        epoch=1,
        input=episode.instruction,
        target="",
        messages=messages,
        output=output,
        scores={_REWARD: score},
        metadata=_metadata(episode),
        model_usage={model: usage},
        uuid=episode.episode_id,
        limit=EvalSampleLimit(type="turn", limit=len(episode.steps))
        if episode.ended is Ended.STEP_LIMIT
        else None,
    )


def _messages(domain: Domain, episode: EpisodeRow, model: str) -> list[ChatMessage]:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser

    steps = [turn.step for turn in episode.steps]
    found: list[ChatMessage] = []
    for number, message in enumerate(conversation(domain, episode.instruction, steps)):
        id = f"{episode.episode_id}-{number}"
        if message["role"] == "assistant":
            found.append(
                ChatMessageAssistant(id=id, content=message["content"], model=model, source="generate")
            )
        else:
            found.append(ChatMessageUser(id=id, content=message["content"]))
    return found


def _metadata(episode: EpisodeRow) -> dict[str, Any]:
    return {
        "episode_id": episode.episode_id,
        "checkpoint_id": episode.checkpoint_id,
        "kind": episode.kind,
        "ended": episode.ended.value,
        "steps": len(episode.steps),
        "deliberations": episode.deliberations,
        "refused_actions": episode.invalid_actions,
        "refused_steps": [place for place, turn in enumerate(episode.steps) if not turn.valid],
        "replies_without_action": episode.unparsed,
        "rewards": list(episode.rewards),
    }
