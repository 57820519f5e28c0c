"""Trajectories as rows: the expert's, D_exp as an iteration sees it, and back to steps (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sand_dagster.ids import identify
from sand_dagster.interfaces import Domain
from sand_dagster.prompts.turns import conversation
from sand_dagster.roles import Origin
from sand_dagster.rows.steps import DemonstrationRow, ExpertRow, StepRow
from sand_dagster.types import Message, Step, Task, Trajectory


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A trajectory of D_exp: the rows of its steps, in order."""

    rows: Sequence[StepRow]
    full_instruction: str = ""
    """u in the agent's own prompt (Figure 7 or 8), where Figures 5 and 6 state that; else empty."""

    @property
    def id(self) -> str:
        """The trajectory's id, kept through all iterations."""
        return self.rows[0].trajectory_id

    @property
    def task_id(self) -> str:
        return self.rows[0].task_id

    @property
    def instruction(self) -> str:
        """u"""
        return self.rows[0].instruction

    @property
    def task_instruction(self) -> str:
        """What fills `{task_instruction}` of Figures 5 and 6: u, or all that the agent is given."""
        return self.full_instruction or self.instruction

    @property
    def reward(self) -> float:
        return self.rows[0].reward

    def history(self, t: int) -> list[Step]:
        """The first `t` steps: h_t without u."""
        return [row.step for row in self.rows[:t]]

    def trajectory(self, task: Task) -> Trajectory:
        """All of it, as a trajectory of its `task`."""
        return Trajectory(self.id, task, self.instruction, self.history(len(self.rows)), self.reward)

    def conversation(self, domain: Domain) -> list[Message]:
        """The trajectory as a chat to be finetuned on; it ends with the agent's last turn."""
        return conversation(domain, self.instruction, self.history(len(self.rows)))[:-1]


def demonstrations_of(rows: Iterable[StepRow], full: Domain | None = None) -> list[Demonstration]:
    """Group the rows of steps, which stand trajectory by trajectory and in order, into demonstrations.

    With `full`, Figures 5 and 6 state its whole prompt, with the available actions, and not the task alone.
    """
    grouped = [list(group) for _, group in groupby(rows, key=lambda row: row.trajectory_id)]
    return [Demonstration(steps, full.prompt(steps[0].instruction) if full else "") for steps in grouped]


def expert_rows(trajectories: Iterable[Trajectory]) -> list[ExpertRow]:
    """The `expert_data` table. A step's id holds the ids before it, and so its whole history."""
    rows: list[ExpertRow] = []
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
                ExpertRow(
                    step_id=previous,
                    trajectory_id=trajectory.id,
                    task_id=trajectory.task.id,
                    index=index,
                    instruction=trajectory.instruction,
                    thought=step.thought,
                    action=step.action,
                    observation=step.observation,
                    reward=trajectory.reward,
                    deliberated=False,
                    origin=Origin.EXPERT,
                )
            )
    return rows


def original_thoughts(expert: Iterable[ExpertRow]) -> dict[tuple[str, int], str]:
    """The expert's z_t by (trajectory id, index)."""
    return {(row.trajectory_id, row.index): row.thought for row in expert}


def next_demonstrations(
    iteration: str, previous: Sequence[StepRow], original_thoughts: Mapping[tuple[str, int], str] | None
) -> list[DemonstrationRow]:
    """D_exp of `iteration`: the expert's steps (00), then the previous D_delib (Algorithm 1's last line).

    Args:
        iteration: the partition that is made.
        previous: the expert's steps, or those of the previous D_delib.
        original_thoughts: the expert's z_t by (trajectory id, index), with `carry_over: original`. A step
            that the expert switch brought in keeps its own thought.
    """
    rows: list[DemonstrationRow] = []
    before = ""
    for parent in previous:
        thought, deliberated = parent.thought, parent.deliberated
        if original_thoughts is not None and parent.origin is Origin.EXPERT:
            thought = original_thoughts[parent.trajectory_id, parent.index]
            deliberated = False
        before = "" if parent.index == 0 else before
        before = identify("demonstrations", iteration, before, parent.step_id, thought)
        rows.append(
            DemonstrationRow(
                step_id=before,
                trajectory_id=parent.trajectory_id,
                task_id=parent.task_id,
                index=parent.index,
                instruction=parent.instruction,
                thought=thought,
                action=parent.action,
                observation=parent.observation,
                reward=parent.reward,
                deliberated=deliberated,
                origin=parent.origin,
                parent_step_id=parent.step_id,
            )
        )
    return rows
