"""Models as folders: finding one, by path or on the hub, and identifying it by its content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sand_dagster.fingerprints import content_digest
from sand_dagster.models.chat import ChatEncoder
from sand_dagster.models.settings import ModelSource
from sand_dagster.models.templates import TemplateChoice, prompting_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "*.txt")
"""Files to download from the hub. Weights only as safetensors: other formats can run code when loaded."""

_IDENTITY = (
    "*.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


class ModelUnavailable(RuntimeError):
    """There is no such model, or a needed part of it is missing."""


def resolve(source: ModelSource) -> Path:
    """The model's folder; the model is downloaded from the hub if it is not a local folder.

    Raises:
        ModelUnavailable: no such folder, and the hub does not have it or cannot be reached; or no
            safetensors.
    """
    folder = Path(source.model).expanduser()
    if not folder.is_dir():
        folder = _fetch(source, folder)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ModelUnavailable(
            f"{folder} is not a model in Hugging Face's format: expected config.json and *.safetensors, "
            f"found {', '.join(sorted(p.name for p in folder.iterdir())[:12]) or 'nothing'}"
        )
    return folder.resolve()


def present(source: ModelSource) -> Path | None:
    """The model's folder, if it is on this machine; nothing is downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    folder = Path(source.model).expanduser()
    if not folder.is_dir():
        try:
            folder = Path(
                snapshot_download(
                    source.model,
                    revision=source.revision,
                    allow_patterns=list(WANTED),  # else what was never wanted counts as missing
                    local_files_only=True,
                )
            )
        except (HFValidationError, LocalEntryNotFoundError):
            return None
    return folder.resolve() if (folder / "config.json").is_file() else None


def _fetch(source: ModelSource, folder: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(source.model, revision=source.revision, allow_patterns=list(WANTED)))
    except HFValidationError as error:
        raise ModelUnavailable(
            f"there is no model folder {folder}, and this is not a valid name on the hub"
        ) from error
    except Exception as error:
        raise ModelUnavailable(
            f"there is no folder {folder}, and the model {source.model!r} could not be downloaded from the "
            f"Hugging Face hub: {type(error).__name__}: {error}\nGive a folder on this machine, or check "
            "the name, the network, and for a gated model that HF_TOKEN is set."
        ) from error


def context_length(folder: Path) -> int:
    """The longest sequence, in tokens, that the model in `folder` was made for."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    length = config.get("max_position_embeddings")
    if not isinstance(length, int):
        raise ModelUnavailable(f"{folder}/config.json has no max_position_embeddings; set `max_model_len`")
    return length


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, with its chat template."""
    from transformers import AutoTokenizer

    # Mistral's models have a tokenizer in two formats. By default transformers takes tekken.json, which comes
    # without the chat template, if mistral-common is installed, as vLLM has it.
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, mistral_format=False
    )
    return tokenizer


def chat_encoder(folder: Path, choice: TemplateChoice) -> ChatEncoder:
    """What writes and encodes the prompts of the model in `folder`.

    Raises:
        NoChatTemplate: `choice` leaves the template to the model, and the model has none.
    """
    tokenizer = load_tokenizer(folder)
    return ChatEncoder(tokenizer, prompting_template(tokenizer, choice, str(folder)))


def model_id(folder: Path) -> str:
    """SHA-256 over the names and contents of weights, configuration and tokenizer."""
    return content_digest(folder, {path for pattern in _IDENTITY for path in folder.glob(pattern)})
