"""A finetuning with the real TRL, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sand_dagster.models.model_folder import model_id
from sand_dagster.training.job import Job, Report, write_conversations
from sand_dagster.training.settings import FinetuningSettings
from sand_dagster.training.sft import finetune
from sand_dagster.types import Message
from tests.models.families import GEMMA
from tests.training.tiny_model import tiny_chat, write_tiny_model

CHATS = [tiny_chat(number, turns=2 + number % 3) for number in range(24)]


def train(
    parent: Path,
    output: Path,
    seed: int = 0,
    epochs: int = 1,
    chats: list[list[Message]] = CHATS,
    **settings: Any,
) -> Report:
    conversations = output.with_suffix(".jsonl")
    write_conversations(conversations, iter(chats))
    knobs = {"batch_size": 8, "per_device_batch_size": 4, "learning_rate": 3e-3, "max_length": 256}
    finetune(
        Job(
            parent=parent,
            conversations=conversations,
            output=output,
            state=output.with_suffix(".state"),
            save_every_s=600,
            settings=FinetuningSettings(**(knobs | settings)),
            epochs=epochs,
            seed=seed,
        )
    )
    return Report.model_validate_json((output / "training.json").read_text())


def reply_loss(folder: Path) -> float:
    """Cross-entropy of only the replies, computed without TRL."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    losses = []
    for chat in CHATS[:8]:
        encoded = tokenizer.apply_chat_template(
            chat, return_dict=True, return_assistant_tokens_mask=True, return_tensors="pt"
        )
        labels = encoded["input_ids"].masked_fill(torch.as_tensor(encoded["assistant_masks"]) == 0, -100)
        with torch.no_grad():
            losses.append(float(model(input_ids=encoded["input_ids"], labels=labels).loss))
    return sum(losses) / len(losses)


def test_it_learns_the_replies_and_writes_a_folder_that_transformers_loads(
    tiny_model: Path, tmp_path: Path
) -> None:
    report = train(tiny_model, tmp_path / "once", epochs=4)
    curve = report.loss_curve
    assert [point.step for point in curve] == list(range(1, 13))
    assert curve[-1].steps == 12
    assert curve[-1].epoch == pytest.approx(4)
    assert curve[0].learning_rate == pytest.approx(3e-3), "no warm-up"
    assert curve[-1].learning_rate < 0.1 * curve[0].learning_rate, "cosine"
    assert curve[-1].loss < 0.7 * curve[0].loss
    assert reply_loss(tmp_path / "once") < 0.7 * curve[0].loss
    assert (report.examples, report.dropped, report.truncated) == (24, [], [])
    assert json.loads((tmp_path / "once" / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.slow
def test_same_seed_same_weights(tiny_model: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        train(tiny_model, tmp_path / name, seed=seed)
    assert model_id(tmp_path / "a") == model_id(tmp_path / "b")
    assert model_id(tmp_path / "a") != model_id(tmp_path / "c"), "the seed orders the examples"


def test_accumulation_makes_up_the_batch(tiny_model: Path, tmp_path: Path) -> None:
    small = train(tiny_model, tmp_path / "small", per_device_batch_size=1)
    large = train(tiny_model, tmp_path / "large", per_device_batch_size=8)
    assert [point.loss for point in small.loss_curve] == pytest.approx(
        [point.loss for point in large.loss_curve], rel=1e-3
    )


def test_adapters_are_merged_into_an_ordinary_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    report = train(tiny_model, tmp_path / "lora", epochs=4, method="lora", learning_rate=1e-2)
    assert report.loss_curve[-1].loss < report.loss_curve[0].loss
    parent, child = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict()
        for folder in (tiny_model, tmp_path / "lora")
    )
    assert parent.keys() == child.keys()
    changed = {name for name in parent if not torch.equal(parent[name], child[name])}
    assert changed
    assert all("proj" in name for name in changed)
    assert reply_loss(tmp_path / "lora") < report.loss_curve[0].loss
    assert not list((tmp_path / "lora").glob("adapter*"))


def test_bfloat16_products_leave_the_checkpoint_in_the_parents_precision(
    tiny_model: Path, tmp_path: Path
) -> None:
    report = train(tiny_model, tmp_path / "bf16", epochs=4, dtype="bfloat16")
    assert report.dtype == "bfloat16"
    assert report.loss_curve[-1].loss < 0.7 * report.loss_curve[0].loss
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "bf16").state_dict()
    assert {weight.dtype for weight in saved.values()} == {torch.float32}


def test_a_model_of_another_family_is_trained_in_its_own_format_and_learns_where_to_stop(
    tmp_path: Path,
) -> None:
    parent = write_tiny_model(tmp_path / "parent", tokenizer=GEMMA.tokenizer())
    report = train(parent, tmp_path / "child", epochs=4)
    assert report.loss_curve[-1].loss < 0.7 * report.loss_curve[0].loss
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tmp_path / "child"),
        AutoModelForCausalLM.from_pretrained(tmp_path / "child"),
    )
    assert tokenizer.chat_template == GEMMA.template
    ends = [tokenizer.convert_tokens_to_ids(text) for text in ("<eos>", "<end_of_turn>")]
    assert model.generation_config.eos_token_id == ends


def test_nothing_to_learn_from_is_an_error(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the 2 conversations has text of the assistant"):
        train(tiny_model, tmp_path / "x", chats=[[{"role": "user", "content": "look"}]] * 2)


def test_a_max_length_beyond_the_model_is_an_error(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"max_length is 1024 tokens, but .* was made for 512"):
        train(tiny_model, tmp_path / "x", max_length=1024)
