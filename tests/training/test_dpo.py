"""DPO with the real TRL: which tokens count, and that the loss is DPO's over these."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sand_dagster.models.model_folder import model_id
from sand_dagster.models.spans import TrainingChats
from sand_dagster.models.templates import published
from sand_dagster.training.dpo import PairCollator, dataset
from sand_dagster.training.examples import encode_pairs
from sand_dagster.training.job import DpoJob, Job, Report, write_conversations
from sand_dagster.training.settings import FinetuningSettings
from sand_dagster.training.sft import finetune
from sand_dagster.types import Message
from tests.training.tiny_model import tiny_chat, tiny_tokenizer

CHOSEN = [tiny_chat(number, turns=1 + number % 3) for number in range(8)]
REJECTED = [tiny_chat(100 + number, turns=3 - number % 3) for number in range(8)]
BETA = 0.2


def train(
    parent: Path,
    output: Path,
    chosen: list[list[Message]] = CHOSEN,
    rejected: list[list[Message]] = REJECTED,
    epochs: int = 1,
    **settings: object,
) -> Report:
    conversations, others = output.with_suffix(".jsonl"), output.with_suffix(".rejected.jsonl")
    write_conversations(conversations, iter(chosen))
    write_conversations(others, iter(rejected))
    knobs = {"batch_size": 8, "per_device_batch_size": 4, "learning_rate": 1e-3, "max_length": 256}
    finetune(
        Job(
            parent=parent,
            conversations=conversations,
            output=output,
            state=output.with_suffix(".state"),
            save_every_s=600,
            settings=FinetuningSettings.model_validate(knobs | settings),
            epochs=epochs,
            seed=0,
            dpo=DpoJob(rejected=others, beta=BETA),
        )
    )
    return Report.model_validate_json((output / "training.json").read_text())


def own_logps(folder: Path, chats: list[list[Message]]) -> torch.Tensor:
    """log π(the assistant's tokens | what stands before each) of every chat, without TRL or our code."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    found = []
    for chat in chats:
        encoded = tokenizer.apply_chat_template(
            chat,
            chat_template=published("household"),
            return_dict=True,
            return_assistant_tokens_mask=True,
            return_tensors="pt",
        )
        ids, mask = encoded["input_ids"], torch.as_tensor(encoded["assistant_masks"]).reshape(1, -1)
        with torch.no_grad():
            logps = torch.log_softmax(model(input_ids=ids).logits[:, :-1].float(), dim=-1)
        found.append((logps.gather(2, ids[:, 1:, None])[..., 0] * mask[:, 1:]).sum())
    return torch.stack(found)


def dpo_loss(policy: Path, reference: Path) -> float:
    """-log σ(β (log π/π_ref of the chosen - that of the rejected)), a mean over the pairs."""
    better, worse = (own_logps(policy, side) - own_logps(reference, side) for side in (CHOSEN, REJECTED))
    return float(-torch.nn.functional.logsigmoid(BETA * (better - worse)).mean())


def test_exactly_the_assistants_tokens_of_both_trajectories_count() -> None:
    tokenizer = tiny_tokenizer()
    chosen = [
        {"role": "user", "content": "You are in a room."},
        {"role": "assistant", "content": "Thought: an apple\nAction: take apple 1"},
        {"role": "user", "content": "Observation: Nothing happens."},
        {"role": "assistant", "content": "Action: open drawer 2"},
    ]
    rejected = [chosen[0], {"role": "assistant", "content": "Action: look"}]
    pairs = encode_pairs([chosen], [rejected], TrainingChats(tokenizer, published("household")), 10_000)
    token = tokenizer.pad_token_id
    assert isinstance(token, int)
    batch = PairCollator(token)([dataset(pairs)[0]])
    assert batch["input_ids"].shape == batch["completion_mask"].shape == batch["attention_mask"].shape
    end = tokenizer.eos_token
    for row, replies in enumerate(
        ([chosen[1]["content"], chosen[3]["content"]], [rejected[1]["content"]]),
    ):
        kept = batch["input_ids"][row][batch["completion_mask"][row] == 1]
        assert tokenizer.decode(kept) == "".join(f"{reply}{end}" for reply in replies)
    text = tokenizer.decode(batch["input_ids"][0][batch["attention_mask"][0] == 1])
    assert "Nothing happens." in text, "the observation is read, but not scored"
    padded = batch["attention_mask"][1] == 0
    assert padded.any() and not batch["completion_mask"][1][padded].any()


def test_the_loss_is_dpos_over_these_tokens_and_the_reference_is_the_model_at_the_start(
    tiny_model: Path, tmp_path: Path
) -> None:
    # All eight pairs are one step: the second step's loss is that of the weights after the first.
    exact = {"scheduler": "constant", "learning_rate": 1e-4, "dtype": "float32"}
    one = train(tiny_model, tmp_path / "one", epochs=1, **exact)
    two = train(tiny_model, tmp_path / "two", epochs=2, **exact)
    first, second = (point.loss for point in two.loss_curve)
    assert first == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=1e-4)
    assert one.loss_curve[0].loss == first
    assert second == pytest.approx(dpo_loss(tmp_path / "one", tiny_model), rel=1e-3)
    assert second < 0.9 * first


def test_observations_are_not_scored_so_what_they_say_alone_prefers_nothing(
    tiny_model: Path, tmp_path: Path
) -> None:
    """Trajectories that differ only in what follows the last reply are the same to DPO."""
    other = [[*chat[:-1], {"role": "user", "content": "Observation: You see a mug 1."}] for chat in CHOSEN]
    report = train(tiny_model, tmp_path / "same", CHOSEN, other, epochs=2)
    assert [point.loss for point in report.loss_curve] == pytest.approx([0.6931] * 2, abs=1e-4)
    assert (report.examples, report.dropped) == (8, [])


def test_adapters_are_trained_against_the_model_without_them(tiny_model: Path, tmp_path: Path) -> None:
    report = train(tiny_model, tmp_path / "lora", epochs=6, method="lora", learning_rate=1e-2)
    assert report.loss_curve[0].loss == pytest.approx(0.6931, abs=1e-4)
    assert report.loss_curve[-1].loss < 0.9 * report.loss_curve[0].loss
    assert model_id(tmp_path / "lora") != model_id(tiny_model)


def test_a_pair_with_a_side_that_has_no_reply_in_reach_is_dropped(tiny_model: Path, tmp_path: Path) -> None:
    silent: list[Message] = [{"role": "user", "content": "look"}]
    report = train(tiny_model, tmp_path / "x", CHOSEN[:2], [REJECTED[0], silent])
    assert (report.examples, report.dropped) == (1, [1])
    with pytest.raises(ValueError, match=r"none of the 1 pairs has text .* on both sides: raise max_length"):
        train(tiny_model, tmp_path / "y", CHOSEN[:1], [silent])
