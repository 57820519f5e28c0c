"""Asset checks: what must hold between the tables, whoever materialised them."""

import inspect
from collections.abc import Callable, Sequence

import dagster as dg
import polars as pl

from sand_dagster.artifacts.orphans import orphans
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.sql import Database
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets import stages_of
from sand_dagster.errors import ArtifactError
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.outcomes import Ended
from sand_dagster.resources.artifacts import Artifacts

Problems = list[str]
Check = Callable[[Experiment, ArtifactStore, str], Problems]

PARTITION = "dagster/partition"
"""Dagster's tag of a run that has a partition."""


def candidates_tie_up(_: Experiment, store: ArtifactStore, iteration: str) -> Problems:
    """Every step of the demonstrations has candidates, the expert's among them (iteration 00: none has)."""
    candidates = store.read("candidate_actions", iteration)
    if iteration == "00":
        return [f"{candidates.height} candidates in iteration 00"] if candidates.height else []
    steps = store.read("expert_trajectories", iteration)
    sampled = candidates.filter(pl.col("is_expert"))
    missing = steps.join(sampled, on="step_id", how="anti")
    wrong = candidates.group_by("step_id").agg((pl.len() > 1).alias("differ"), pl.col("deliberates").first())
    wrong = wrong.filter(pl.col("differ") != pl.col("deliberates"))
    return [
        *(f"step {step} has no candidate of the expert's" for step in missing["step_id"]),
        *(f"step {step}: the indicator contradicts its candidates" for step in wrong["step_id"]),
    ]


def rollouts_tie_up(_: Experiment, store: ArtifactStore, iteration: str) -> Problems:
    """Every candidate of a deliberating step has one rollout, and nothing else has."""
    deliberating = store.read("candidate_actions", iteration).filter(pl.col("deliberates"))
    return _one_each(deliberating, store.read("rollouts", iteration), "candidate_id", "rollout")


def rollout_rewards(_: Experiment, store: ArtifactStore, iteration: str) -> Problems:
    """Rewards of rollouts are within [0, 1]."""
    return _within(store.read("rollouts", iteration), ["reward"])


def critiques_tie_up(_: Experiment, store: ArtifactStore, iteration: str) -> Problems:
    """Every rollout that was played has one critique, and nothing else has."""
    played = store.read("rollouts", iteration).filter(pl.col("ended") != Ended.REPLAY_MISMATCH)
    return _one_each(played, store.read("critiques", iteration), "rollout_id", "critique")


def ends_in_the_experts_action(experiment: Experiment, store: ArtifactStore, iteration: str) -> Problems:
    """Every step ends in the demonstration's action, or in that of the rollout it was switched to."""
    steps = store.read("deliberation_trajectories", iteration)
    demonstrated = store.read("expert_trajectories", iteration).select(
        pl.col("step_id").alias("parent_step_id"), pl.col("action").alias("expert_action")
    )
    own = steps.filter(pl.col("rollout_id") == "").join(demonstrated, on="parent_step_id", how="left")
    wrong = own.filter(pl.col("action").ne_missing(pl.col("expert_action")))
    problems = [f"step {step} does not end in the expert's action" for step in wrong["step_id"]]
    switched = steps.filter(pl.col("rollout_id") != "")
    if switched.height:
        rollouts = {row["rollout_id"]: row for row in store.read("rollouts", iteration).to_dicts()}
        for row in switched.sort("trajectory_id", "index").to_dicts():
            played = [turn["action"] for turn in rollouts[row["rollout_id"]]["steps"]]
            if row["action"] not in played:
                problems.append(f"step {row['step_id']} does not end in the switched action")
    return problems


def scores_within_bounds(_: Experiment, store: ArtifactStore, iteration: str) -> Problems:
    """Average rewards and rates are within [0, 1], and every evaluated task is scored once."""
    scores = store.read("eval_scores", iteration)
    episodes = store.read("eval_episodes", iteration)
    rates = ["average_reward", "reward_low", "reward_high", "success_rate", "deliberation_rate"]
    per_step = ["reward_per_step", "deliberation_per_step"]
    problems = _within(scores, [*rates, *per_step, "invalid_rate", "unparsed_rate"])
    if scores["tasks"].sum() != episodes.height:
        problems.append(f"{scores['tasks'].sum()} tasks are scored, {episodes.height} were played")
    return problems


def explorations_tie_up(experiment: Experiment, store: ArtifactStore, iteration: str) -> Problems:
    """Every training task was explored as often as asked, with a reward in [0, 1] (iteration 00: never)."""
    explored = store.read("explorations", iteration)
    if iteration == "00":
        return [f"{explored.height} explorations in iteration 00"] if explored.height else []
    tasks = store.read("tasks", None).filter(pl.col("split") == "train")
    counted = tasks.join(explored.group_by("task_id").len(), on="task_id", how="left")
    wrong = counted.filter(pl.col("len").ne_missing(experiment.explorations.n))
    return [
        *(
            f"task {row['task_id']} has {row['len'] or 0} explorations, not {experiment.explorations.n}"
            for row in wrong.to_dicts()
        ),
        *_within(explored, ["reward"]),
    ]


def search_ties_up(experiment: Experiment, store: ArtifactStore, iteration: str) -> Problems:
    """Every test task was searched by every mode, and rewards are within [0, 1]."""
    tasks = store.read("tasks", None).filter(pl.col("split").is_in(["seen", "unseen"]))
    episodes = store.read("search_episodes", iteration)
    modes = experiment.search.modes if experiment.search else ()
    missing = [
        f"task {id} was not searched by {mode}"
        for mode in modes
        for id in tasks.join(episodes.filter(pl.col("mode") == mode), on="task_id", how="anti")["task_id"]
    ]
    scores = store.read("search_scores", iteration)
    return [*missing, *_within(scores, ["average_reward", "reward_low", "reward_high", "success_rate"])]


def one_checkpoint(experiment: Experiment, store: ArtifactStore, iteration: str) -> Problems:
    """The checkpoint was finetuned on every step of this iteration's trajectories.

    With variants rft and eto: on experts' steps and explorations of this iteration, and on nothing else.
    """
    (trained,) = store.read("checkpoints", iteration)["step_ids"].to_list()
    if experiment.explores:
        experts = set(store.read("expert_trajectories", iteration)["step_id"])
        explored = set(store.read("explorations", iteration)["exploration_id"])
        strange = [f"the checkpoint was finetuned on {id}" for id in trained if id not in experts | explored]
        left_out = experts - set(trained) if experiment.variant == "rft" or iteration == "00" else set()
        return [*strange, *(f"the checkpoint was not finetuned on step {id}" for id in sorted(left_out))]
    steps = store.read("deliberation_trajectories", iteration)["step_id"].to_list()
    return [] if trained == steps else ["the checkpoint's steps are not those of deliberation_trajectories"]


_CHECKS: dict[str, list[Check]] = {
    "candidate_actions": [candidates_tie_up],
    "rollouts": [rollouts_tie_up, rollout_rewards],
    "critiques": [critiques_tie_up],
    "deliberation_trajectories": [ends_in_the_experts_action],
    "explorations": [explorations_tie_up],
    "checkpoints": [one_checkpoint],
    "eval_scores": [scores_within_bounds],
    "search_scores": [search_ties_up],
}


def checks_of(experiment: Experiment) -> list[dg.AssetChecksDefinition]:
    """The checks of an experiment's assets: ties between stages, orphan ids, bounds."""
    return [
        _check(experiment, definition.name, check)
        for definition in stages_of(experiment)
        for check in _checks(definition.name)
    ]


def broken_invariants(experiment: Experiment, store: ArtifactStore, iteration: str) -> Problems:
    """What the checks of all stages find in an iteration, each with the name of its check."""
    return [
        f"{definition.name}.{check.__name__}: {problem}"
        for definition in stages_of(experiment)
        for check in _checks(definition.name)
        for problem in _problems(check, experiment, store, iteration)
    ]


def _checks(table: str) -> list[Check]:
    added = [_no_orphans(table)] if TABLES[table].partitioned else []
    return [*_CHECKS.get(table, []), *added]


def _no_orphans(table: str) -> Check:
    def no_orphans(experiment: Experiment, store: ArtifactStore, iteration: str) -> Problems:
        """Every parent's id is the id of a row."""
        # Later iterations stand on this one, and not the other way round: they may be damaged.
        database = Database(store.home, experiment.name, until=iteration)
        return [str(row) for row in orphans(database, table, iteration).to_dicts()]

    return no_orphans


def _problems(check: Check, experiment: Experiment, store: ArtifactStore, iteration: str) -> Problems:
    try:
        return check(experiment, store, iteration)
    except ArtifactError as error:
        return [str(error)]


def _check(experiment: Experiment, asset: str, check: Check) -> dg.AssetChecksDefinition:
    """An asset check that stops what comes after it where it fails.

    In a run of an iteration it looks at that one; run by itself, at every iteration that is complete. So it
    has no partitions: Dagster's `Execute all` names none.
    """
    description = inspect.getdoc(check)

    @dg.asset_check(
        asset=dg.AssetKey([experiment.name, asset]),
        name=check.__name__,
        description=description,
        blocking=True,
        config_schema={},  # else the launchpad offers "Any"
    )
    def run_check(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
        store = artifacts.store(experiment.name)
        of_a_run = context.run.tags.get(PARTITION)
        iterations = [of_a_run] if of_a_run else store.iterations(asset)
        problems = [
            f"{iteration}: {problem}"
            for iteration in iterations
            for problem in _problems(check, experiment, store, iteration)
        ]
        looked_at = f"iteration {', '.join(iterations)}" if iterations else "nothing: nothing is complete"
        return dg.AssetCheckResult(
            passed=not problems,
            description="; ".join(problems[:5]) or f"{description} Looked at {looked_at}.",
            metadata={"problems": len(problems), "iterations": ", ".join(iterations) or "none"},
        )

    return run_check


def _one_each(parents: pl.DataFrame, children: pl.DataFrame, key: str, child: str) -> Problems:
    counted = children.group_by(key).len()
    missing = parents.join(counted, on=key, how="anti")
    extra = counted.join(parents, on=key, how="anti")
    twice = counted.filter(pl.col("len") > 1)
    return [
        *(f"{key} {value} has no {child}" for value in missing[key]),
        *(f"a {child} of {value}, which should have none" for value in extra[key]),
        *(f"{key} {value} has more than one {child}" for value in twice[key]),
    ]


def _within(frame: pl.DataFrame, columns: Sequence[str]) -> Problems:
    return [
        f"{column} is outside [0, 1] in {count} rows"
        for column in columns
        if (count := frame.filter(~pl.col(column).is_between(0, 1)).height)
    ]
