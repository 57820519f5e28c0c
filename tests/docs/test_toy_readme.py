"""The examples of `packages/toy-alfworld/README.md` run unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from tests.docs.blocks import ROOT, blocks

GAME, MODEL = blocks(ROOT / "packages" / "toy-alfworld" / "README.md")


def test_a_game_is_made_and_won(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(GAME, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "Your task is to:" in shown and shown.endswith("reward: 1.0\n")


def test_the_model_loads_and_speaks_as_a_chat_model() -> None:
    names: dict[str, Any] = {}
    exec(compile(MODEL, "README.md", "exec"), names)
    tokenizer, model = names["tokenizer"], names["model"]
    asked = [{"role": "user", "content": "What is in the fridge 1?"}]
    prompt = tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(input_ids=prompt["input_ids"], max_new_tokens=8)
    assert answer.shape[1] > prompt["input_ids"].shape[1]
