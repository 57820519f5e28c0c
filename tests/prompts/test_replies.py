"""Replies in the style of real chat models: `replies/*.yaml` has the expected result of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sand_dagster.prompts.figures import Parsed, is_deliberation, parse_critique, parse_deliberation
from sand_dagster.prompts.turns import Reply, parse_completion, parse_reply, render_turn
from sand_dagster.types import Completion

FAMILIES = {
    "any",
    "llama-3.1",
    "qwen2.5",
    "qwen3",
    "gemma",
    "gpt-oss",
    "smollm2",
    "mistral",
    "phi",
    "deepseek",
}


def _corpus(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = yaml.safe_load(
        (Path(__file__).parent / "replies" / f"{name}.yaml").read_text(encoding="utf-8")
    )
    return cases


TURNS, CRITIQUES, DELIBERATIONS = map(_corpus, ("turns", "critiques", "deliberations"))


@pytest.mark.parametrize("case", TURNS, ids=lambda case: repr(case["reply"])[:60])
def test_a_turn(case: dict[str, Any]) -> None:
    finish = "length" if case.get("cut") else "stop"
    reply = parse_completion(Completion(case["reply"], 1, 1, finish))  # type: ignore[arg-type]
    assert reply.action == case["action"]
    assert reply.thought == case.get("thought", reply.thought)


@pytest.mark.parametrize(
    "case",
    [each for each in TURNS if each["action"] and "Action:" not in each["thought"]],
    ids=lambda case: repr(case["reply"])[:60],
)
def test_a_turn_as_the_next_prompt_shows_it_is_read_alike(case: dict[str, Any]) -> None:
    assert parse_reply(render_turn(case["thought"], case["action"])) == Reply(case["thought"], case["action"])


@pytest.mark.parametrize("case", CRITIQUES, ids=lambda case: repr(case["reply"])[:60])
def test_a_critique(case: dict[str, Any]) -> None:
    expected = Parsed(case.get("text", ""), case.get("outcome", "ok"))
    assert parse_critique(case["reply"], cut=case.get("cut", False)) == expected


@pytest.mark.parametrize("case", DELIBERATIONS, ids=lambda case: repr(case["reply"])[:60])
def test_a_deliberation(case: dict[str, Any]) -> None:
    parsed = parse_deliberation(case["reply"], case.get("action", ""), cut=case.get("cut", False))
    assert parsed.outcome == case.get("outcome", "ok")
    if parsed.outcome == "ok":
        assert parsed.text == case.get("text", case["reply"].removeprefix("Thought: "))
        assert is_deliberation(parsed.text)


def test_the_corpus_is_large_and_holds_what_is_to_be_refused() -> None:
    assert len(TURNS) >= 120 and len(CRITIQUES) >= 50 and len(DELIBERATIONS) >= 50
    refused = [case for case in TURNS if case["action"] is None]
    refused += [case for case in (*CRITIQUES, *DELIBERATIONS) if case.get("outcome", "ok") != "ok"]
    assert len(refused) >= 60
    assert {case["family"] for case in (*TURNS, *CRITIQUES, *DELIBERATIONS)} == FAMILIES
