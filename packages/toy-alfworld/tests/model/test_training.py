from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerBase

from toy_alfworld.model import CONTEXT, weights
from toy_alfworld.model.recipe import batches
from toy_alfworld.model.recipe.batches import PARTS, Encoder, Lessons, Stream, group
from toy_alfworld.model.recipe.tokenizer import prompt_pieces
from toy_alfworld.model.recipe.training import Settings, Training
from toy_alfworld.model.teachers.documents import LESSONS, document

TAUGHT = Lessons(document, batches=2)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(weights())
    return loaded


@pytest.fixture(autouse=True)
def small_and_single_threaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(batches, "CHUNK", 6)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(vocabulary: int) -> LlamaConfig:
    """A model with just the layers and heads that `initialise` sets."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        tie_word_embeddings=True,
    )


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_stopped_run_continues_with_the_same_losses(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    settings, config = Settings(steps=5, warmup=2), small(len(tokenizer))
    Training(tmp_path / "through", settings, TAUGHT, config, tokenizer).run(lambda report: None)
    for until in (3, None):
        Training(tmp_path / "stopped", settings, TAUGHT, config, tokenizer).run(lambda report: None, until)
    through = losses(tmp_path / "through")
    assert losses(tmp_path / "stopped") == pytest.approx(through, abs=1e-6)
    assert len(through) == 5 and len(set(through)) == 5


def test_a_run_with_other_settings_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    config = small(len(tokenizer))
    Training(tmp_path, Settings(steps=1), TAUGHT, config, tokenizer).run(lambda report: None)
    with pytest.raises(ValueError, match="other settings"):
        Training(tmp_path, Settings(steps=1, seed=2), TAUGHT, config, tokenizer)


def test_the_loss_leaves_the_fixed_prompts_out(tokenizer: PreTrainedTokenizerBase) -> None:
    ids, weights_ = Encoder(tokenizer)(document("weights", 1, kind="critique"))
    pieces = {tokenizer.get_vocab()[piece] for piece in prompt_pieces()}
    assert any(token in pieces for token in ids)
    assert all((weight == 0.0) == (token in pieces) for token, weight in zip(ids, weights_, strict=True))
    assert {0.0, 1.0} < set(weights_)


def test_groups_hold_every_document_once(tokenizer: PreTrainedTokenizerBase) -> None:
    drawn = [Encoder(tokenizer)(document("groups", LESSONS + index)) for index in range(20)]
    groups = group(drawn, 4)
    assert len(groups) == 4
    assert sorted(len(d.ids) for g in groups for d in g) == sorted(len(d.ids) for d in drawn)


def test_the_shipped_weights_load_and_are_small(tokenizer: PreTrainedTokenizerBase) -> None:
    model = AutoModelForCausalLM.from_pretrained(weights())
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.max_position_embeddings == CONTEXT
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert 4e6 < model.num_parameters() < 8e6
    assert sum(path.stat().st_size for path in weights().iterdir()) < 20e6
    assert (weights() / "README.md").exists()


def test_a_stream_may_leave_out_its_first_documents(tokenizer: PreTrainedTokenizerBase) -> None:
    chunk = batches.CHUNK * PARTS
    later = Stream(TAUGHT, tokenizer, 1, part=0, first=2, last=4)
    skipping = Stream(TAUGHT, tokenizer, 1, part=0, first=0, last=2, skip=chunk)
    texts = [{tuple(batch.ids.flatten().tolist()) for batch in stream} for stream in (later, skipping)]
    assert texts[0] == texts[1] and len(texts[0]) == 2
