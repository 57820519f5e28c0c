"""Trajectories as rows: the expert's, D_exp as an iteration sees it, and back to steps (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sand_dagster.execution.units import Row
from sand_dagster.ids import identify
from sand_dagster.interfaces import Domain
from sand_dagster.prompts.turns import conversation
from sand_dagster.types import Message, Step, Task, Trajectory


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A trajectory of D_exp: the rows of its steps, in order."""

    rows: Sequence[Row]

    @property
    def id(self) -> str:
        """The trajectory's id, kept through all iterations."""
        return str(self.rows[0]["trajectory_id"])

    @property
    def task_id(self) -> str:
        return str(self.rows[0]["task_id"])

    @property
    def instruction(self) -> str:
        """u"""
        return str(self.rows[0]["instruction"])

    @property
    def reward(self) -> float:
        return float(self.rows[0]["reward"])

    def history(self, t: int) -> list[Step]:
        """The first `t` steps: h_t without u."""
        return [Step(row["thought"], row["action"], row["observation"]) for row in self.rows[:t]]

    def trajectory(self, task: Task) -> Trajectory:
        """All of it, as a trajectory of its `task`."""
        return Trajectory(self.id, task, self.instruction, self.history(len(self.rows)), self.reward)

    def conversation(self, domain: Domain) -> list[Message]:
        """The trajectory as a chat to be finetuned on; it ends with the agent's last turn."""
        return conversation(domain, self.instruction, self.history(len(self.rows)))[:-1]


def demonstrations_of(rows: Iterable[Row]) -> list[Demonstration]:
    """Group the rows of steps, which stand trajectory by trajectory and in order, into demonstrations."""
    return [Demonstration(list(group)) for _, group in groupby(rows, key=lambda row: row["trajectory_id"])]


def expert_rows(trajectories: Iterable[Trajectory]) -> list[Row]:
    """The `expert_data` table. A step's id holds the ids before it, and so its whole history."""
    rows: list[Row] = []
    begun: set[str] = set()
    for trajectory in trajectories:
        previous = identify("expert_trajectories", trajectory.task.id, trajectory.instruction)
        # Two trajectories of one task may begin alike.
        if previous in begun:
            previous = identify("expert_trajectories", previous, trajectory.id)
        begun.add(previous)
        for index, step in enumerate(trajectory.steps):
            previous = identify("expert_trajectories", previous, step.thought, step.action, step.observation)
            rows.append(
                {
                    "step_id": previous,
                    "trajectory_id": trajectory.id,
                    "task_id": trajectory.task.id,
                    "index": index,
                    "instruction": trajectory.instruction,
                    "thought": step.thought,
                    "action": step.action,
                    "observation": step.observation,
                    "reward": trajectory.reward,
                    "deliberated": False,
                    "origin": "expert",
                }
            )
    return rows


def original_thoughts(expert: Iterable[Row]) -> dict[tuple[str, int], str]:
    """The expert's z_t by (trajectory id, index), of the rows of `expert_data`."""
    return {(row["trajectory_id"], row["index"]): row["thought"] for row in expert}


def next_demonstrations(
    iteration: str, previous: Sequence[Row], original_thoughts: Mapping[tuple[str, int], str] | None
) -> list[Row]:
    """D_exp of `iteration`: the expert's steps (00), then the previous D_delib (Algorithm 1's last line).

    Args:
        iteration: the partition that is made.
        previous: rows of `expert_data`, or of the previous `deliberation_trajectories`.
        original_thoughts: the expert's z_t by (trajectory id, index), with `carry_over: original`. A step
            that the expert switch brought in keeps its own thought.
    """
    rows: list[Row] = []
    before = ""
    for parent in previous:
        thought, deliberated = parent["thought"], parent["deliberated"]
        if original_thoughts is not None and parent["origin"] == "expert":
            thought = original_thoughts[parent["trajectory_id"], parent["index"]]
            deliberated = False
        before = "" if parent["index"] == 0 else before
        before = identify("demonstrations", iteration, before, parent["step_id"], thought)
        kept = (
            "trajectory_id",
            "task_id",
            "index",
            "instruction",
            "action",
            "observation",
            "reward",
            "origin",
        )
        rows.append(
            {
                "step_id": before,
                **{name: parent[name] for name in kept},
                "thought": thought,
                "deliberated": deliberated,
                "parent_step_id": parent["step_id"],
            }
        )
    return rows
