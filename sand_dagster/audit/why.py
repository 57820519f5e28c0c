"""Explains an episode's score: a story in plain sentences, each with the id to look at next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sand_dagster.artifacts.lineage import Lineage, LineageError
from sand_dagster.artifacts.part import Node
from sand_dagster.artifacts.schemas import SCORES

_EPISODES = ("eval_episodes", "search_episodes")
_FEW = 3


def why(lineage: Lineage, node: Node) -> Iterator[str]:
    """The sentences of an episode's story, or of a score's.

    Raises:
        LineageError: the row is neither an episode nor a score.
    """
    if node.table in SCORES:
        score = lineage.row(node)
        yield (
            f"Score {node.id}: an average reward of {score['average_reward']:.3f} over {score['tasks']} "
            f"{score['split']} tasks, of which {score['success_rate']:.0%} were won{_searched(score)}."
        )
    elif node.table in _EPISODES:
        yield from _episode(lineage, node)
    else:
        raise LineageError(
            f"{node.id} is a row of {node.table}; `why` needs a row of {', '.join((*_EPISODES, *SCORES))}. "
            f"`sand lineage trace {node.id}` shows where any row came from"
        )
    checkpoint = _parent(lineage, node, "checkpoint_id")
    while checkpoint is not None:
        yield from _checkpoint(lineage, checkpoint)
        policy = _parent(lineage, checkpoint, "policy_id")
        checkpoint = policy and _parent(lineage, policy, "checkpoint_id")


def scores_of(lineage: Lineage, node: Node) -> list[Node]:
    """The scores that used the row, of this experiment and of its controls."""
    return [each for each in [node, *lineage.reached(node, up=False)] if each.table in SCORES]


def _episode(lineage: Lineage, node: Node) -> Iterator[str]:
    row = lineage.row(node)
    won = "won" if row["reward"] == 1 else f"ended with reward {row['reward']:.2f}"
    deliberated = f"{row['deliberations']} deliberated, " if "deliberations" in row else ""
    yield (
        f"Episode {node.id} of iteration {node.iteration} {won}: {row['split']} task {row['task_id']}, "
        f"{_count(len(row['steps']), 'step')}, ended by {row['ended']}"
        f"{_searched(row)}; {deliberated}{row['invalid_actions']} refused by the environment."
    )
    summed = [link.child for link in lineage.children(node) if link.child.table in SCORES]
    for score in summed:
        about = lineage.row(score)
        yield (
            f"It counts in score {score.id}: {about['average_reward']:.3f} over {about['tasks']} "
            f"{about['split']} tasks{_searched(about)}."
        )


def _searched(row: Mapping[str, Any]) -> str:
    """How test-time search played for the row; nothing if it was played once."""
    return (
        f", by {row['mode']} with {_count(row.get('samples', row.get('n')), 'sample')}"
        if "mode" in row
        else ""
    )


def _checkpoint(lineage: Lineage, node: Node) -> Iterator[str]:
    row = lineage.row(node)
    where = f"{node.experiment}: " if node.experiment else ""
    yield (
        f"{where}It comes from checkpoint {node.id} of iteration {node.iteration}: "
        f"{_count(row['examples'], 'conversation')}, {_count(row['epochs'], 'pass', 'passes')}, "
        f"{_count(row['trained_tokens'], 'token')} of the agent's own."
    )
    if row["dropped"] or row["truncated"]:
        dropped, truncated = len(row["dropped"]), len(row["truncated"])
        yield f"Of its conversations {dropped} were dropped and {truncated} truncated."
    for links in lineage.up(node):
        if links.column == "control_for":
            (other,) = links.nodes(1)
            yield f"As a control it got as many tokens as checkpoint {other.id} of {other.experiment}."
    steps = [n for links in lineage.up(node) if links.column == "step_ids" for n in links.nodes()]
    deliberating = [n for n in steps if n.table == "deliberation_trajectories"]
    if deliberating or not steps:
        yield from _training_steps(lineage, deliberating)
    else:
        yield from _explorations(lineage, steps)


def _explorations(lineage: Lineage, trained: list[Node]) -> Iterator[str]:
    """Of a checkpoint of RFT or ETO: the experts' steps and the explorations."""
    explored = [n for n in trained if n.table == "explorations"]
    rewards = lineage.values(explored, {"explorations": ("reward",)})
    won = sum(rewards[node]["reward"] >= 1 for node in explored)
    yield (
        f"It was trained on {_count(len(trained) - len(explored), 'step')} of the experts and on "
        f"{_count(len(explored), 'exploration')} of the policy{_named(explored)}, of which {won} won."
    )


def _training_steps(lineage: Lineage, steps: list[Node]) -> Iterator[str]:
    columns = ("deliberated", "outcome", "origin", "candidate_ids", "trajectory_id")
    rows = lineage.values(steps, {"deliberation_trajectories": columns})
    deliberated = [node for node in steps if rows[node]["deliberated"]]
    asked = [node for node in steps if rows[node]["outcome"] != "kept"]
    trajectories = {row["trajectory_id"] for row in rows.values()}
    of = _count(len(trajectories), "trajectory", "trajectories")
    yield (
        f"It was trained on {_count(len(steps), 'step')} of {of}, {len(deliberated)} of "
        f"them with a deliberation{_named(deliberated)}."
    )
    refused = Counter(rows[node]["outcome"] for node in asked if rows[node]["outcome"] != "ok")
    if refused:
        listed = ", ".join(f"{outcome} {count}" for outcome, count in refused.most_common())
        yield f"{_count(sum(refused.values()), 'step')} kept the earlier thought: {listed}."
    switched = [node for node in steps if rows[node]["origin"] == "switched"]
    if switched:
        steps_of = _count(len(switched), "step")
        yield f"{steps_of} were switched from the expert to a better rollout{_named(switched)}."
    if not asked:
        return
    candidates = _ends(lineage, asked, "candidate_ids")
    rollouts = _ends(lineage, _ends(lineage, asked, "critique_ids"), "rollout_id")
    yield (
        f"The deliberations came from {_count(len(candidates), 'candidate')}{_named(candidates)}"
        + (f", and from critiques that saw {_count(len(rollouts), 'rollout')}:" if rollouts else ".")
    )
    if not rollouts:
        return
    rewards = lineage.values(rollouts, {"rollouts": ("reward", "ended", "candidate_id")})
    won = [node for node in rollouts if rewards[node]["reward"] == 1]
    experts = lineage.values(candidates, {"candidate_actions": ("is_expert",)})
    ids = {node.id for node in candidates if experts[node]["is_expert"]}
    lost = [n for n in rollouts if rewards[n]["reward"] < 1 and rewards[n]["candidate_id"] in ids]
    yield (
        f"{len(won)} of these rollouts won{_named(won)}, {len(rollouts) - len(won)} did not; "
        f"{len(lost)} of those that did not win started with the expert's action{_named(lost)}."
    )


def _parent(lineage: Lineage, node: Node, column: str) -> Node | None:
    for links in lineage.up(node):
        if links.column == column:
            return links.nodes(1)[0]
    return None


def _ends(lineage: Lineage, nodes: Iterable[Node], column: str) -> list[Node]:
    """The different rows that `nodes` name in `column`."""
    return list(
        dict.fromkeys(
            end for links in lineage.up_all(nodes) if links.column == column for end in links.nodes()
        )
    )


def _named(nodes: list[Node]) -> str:
    if not nodes:
        return ""
    more = ", …" if len(nodes) > _FEW else ""
    return f" ({', '.join(node.id for node in nodes[:_FEW])}{more})"


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"
