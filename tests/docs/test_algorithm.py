"""`docs/algorithm.md` and the README show the current algorithm, and their examples work."""

from __future__ import annotations

import asyncio
import inspect
import textwrap
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sand_dagster.environments.alfworld import DOMAIN
from sand_dagster.interfaces import Generator
from sand_dagster.sand.algorithm import Iteration, self_taught_action_deliberation
from sand_dagster.sand.settings import AlgorithmSettings
from sand_dagster.types import Message, Sampling
from tests.docs.blocks import ALGORITHM, ROOT, blocks, shown
from tests.sand.scripted import INSTRUCTION, TASK, Corridor, ScriptedModel, demonstration

SOURCE = inspect.getsource(self_taught_action_deliberation)


def test_the_page_shows_the_function_as_it_is() -> None:
    assert blocks(ALGORITHM)[0] == SOURCE


def test_the_readme_shows_the_loop_as_it_is() -> None:
    (loop,) = (block for block in blocks(ROOT / "README.md") if "sample_candidates" in block)
    assert textwrap.indent(loop, "    ") in SOURCE
    assert "for k in" in loop and "Eq. 7" in loop


def _act(prompt: str, sampling: Sampling) -> str:
    """At the first step usually the expert's action, later never."""
    agrees = INSTRUCTION in prompt and sampling.seed % 4
    return "Action: go to door 1" if agrees else "Action: look"


def _write(prompt: str, _: Sampling) -> str:
    if "Action Evaluation:" in prompt:
        return "Action Evaluation: it helps."
    words = (
        "go. " if "You walk." not in prompt else "I have walked here and I go on to where I have not been. "
    )
    return f"Thought: I choose.\n\n- look: no.\n- go: yes.\n\n{words}"


class _Trainer:
    def finetune(
        self, conversations: Sequence[Sequence[Message]], parent: Path, output: Path, seed: int, epochs: int
    ) -> Mapping[str, object]:
        return {"model_id": f"{parent} {seed}"}


def _first_iteration(**ideas: Any) -> tuple[Iteration, list[str]]:
    """Iteration 01 in the corridor, and the critiques' prompts."""
    base = ScriptedModel(_write)

    @asynccontextmanager
    async def serve(_: Path) -> AsyncIterator[Generator]:
        yield ScriptedModel(_act)

    _, first = asyncio.run(
        self_taught_action_deliberation(
            [demonstration().trajectory(TASK)],
            DOMAIN,
            Corridor(),
            base,
            Path("base"),
            serve,
            _Trainer(),
            Path("out"),
            AlgorithmSettings(iterations=1),
            **ideas,
        )
    )
    prompts = [messages[-1]["content"] for messages, _ in base.asked]
    return first, [prompt for prompt in prompts if "Action Evaluation:" in prompt]


def _deliberating(iteration: Iteration) -> list[bool]:
    return [row.deliberates for row in iteration.candidates if row.is_expert]


def test_the_indicator_of_the_page_deliberates_only_where_the_expert_is_outvoted() -> None:
    paper, _ = _first_iteration()
    idea, _ = _first_iteration(indicator=shown("outvoted"))
    assert _deliberating(paper) == [True, True, True]
    assert _deliberating(idea) == [False, True, True]
    assert len(idea.rollouts) < len(paper.rollouts)
    assert [row.outcome for row in idea.deliberations] == ["kept", "ok", "ok"]


def test_the_critic_of_the_page_sees_one_step_of_each_rollout() -> None:
    paper, of_paper = _first_iteration()
    idea, of_idea = _first_iteration(critic=shown("short_sighted"))
    assert idea.rollouts == paper.rollouts and len(of_idea) == len(of_paper) == len(idea.critiques)
    long = [len(row.steps) > 1 for row in paper.rollouts]
    assert any(long)
    assert [a != b for a, b in zip(of_idea, of_paper, strict=True)] == long


def test_the_filter_of_the_page_takes_brief_deliberations_only() -> None:
    paper, _ = _first_iteration()
    idea, _ = _first_iteration(accept=shown("brief"))
    assert [row.outcome for row in paper.deliberations] == ["ok", "ok", "ok"]
    assert [row.outcome for row in idea.deliberations] == ["ok", "rejected", "rejected"]
    thoughts = [row.thought for row in demonstration().rows]
    assert [row.thought for row in idea.deliberations][1:] == thoughts[1:]
    assert [row.deliberated for row in idea.deliberations] == [True, False, False]
