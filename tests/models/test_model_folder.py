"""Finding a model, and distinguishing two by their content."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import mistral_common
import pytest

from sand_dagster import fingerprints
from sand_dagster.models.model_folder import ModelUnavailable, load_tokenizer, model_id, resolve
from sand_dagster.models.settings import ModelSource
from tests.models.families import MISTRAL


def test_the_id_is_of_the_content_not_of_the_place(tiny_model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    (copy / "training.json").write_text('{"seconds": 3}')
    assert model_id(copy) == model_id(tiny_model)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert model_id(copy) != model_id(tiny_model)


def test_the_id_is_remembered_and_a_damaged_memory_is_not_trusted(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    hashed: list[Path] = []
    real = fingerprints.file_digest
    monkeypatch.setattr(fingerprints, "file_digest", lambda path: hashed.append(path) or real(path))
    time.sleep(
        0.15
    )  # a file that was written just now is not cached, because its times could not show a change
    first = model_id(tiny_model)
    count = len(hashed)
    assert count > 2
    assert model_id(tiny_model) == first
    assert len(hashed) == count
    (note,) = tmp_path.rglob("*.json")
    note.write_text(note.read_text()[:20])
    assert model_id(tiny_model) == first
    assert len(hashed) == 2 * count


def test_a_folder_without_a_model_is_refused_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(
        ModelUnavailable, match=r"expected config\.json and \*\.safetensors, found pytorch_model\.bin"
    ):
        resolve(ModelSource(model=str(tmp_path)))


def test_a_model_that_is_not_here_and_cannot_be_fetched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelUnavailable, match=r"could not be downloaded[\s\S]*Give a folder on this machine"
    ):
        resolve(ModelSource(model="nobody/nothing"))
    with pytest.raises(ModelUnavailable, match="no model folder /no/such/place"):
        resolve(ModelSource(model="/no/such/place"))


def test_of_mistrals_two_tokenizers_the_one_with_the_chat_template_is_loaded(tmp_path: Path) -> None:
    MISTRAL.tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "mistral"}')
    shutil.copy(Path(mistral_common.__file__).parent / "data/tekken_240911.json", tmp_path / "tekken.json")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.chat_template == MISTRAL.template
    assert tokenizer.convert_ids_to_tokens(tokenizer("[INST]")["input_ids"]) == ["<s>", "[INST]"]
