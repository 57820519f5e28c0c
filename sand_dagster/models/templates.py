"""Chat templates: a chat as text. The same template is used for prompts and for training.

Ours, each a file of `templates/`, write the same text as the models' own, mark the assistant's spans for
later training of the checkpoint by others, and write no changing date. If we have none for a model, its own
template is used (`spans.py` finds what the assistant wrote).
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Literal

from sand_dagster.models.rendering import ChatRefused, render
from sand_dagster.models.spans import TrainingChats, Unstable, why_unstable
from sand_dagster.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TemplateChoice = Literal["auto", "household", "llama-3.1", "qwen-2.5", "model"]
"""`auto`: ours if it writes the same text as the model's own, else the model's own, or TRL's variant of it if
only that can be used for training; `model`: the model's own."""

NAMES = ("household", "llama-3.1", "qwen-2.5")
WAY_OUT = (
    f"Set `finetuning.chat_template` to one of {', '.join(NAMES)} if the model speaks that format. Or change "
    "the chat template in the model's folder so that every message is written in full and the same way "
    "whatever follows it, and set `finetuning.chat_template: model`."
)
"""What to do if a template cannot be used for training."""

_PROBES: tuple[list[Message], ...] = (
    [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": " b\n"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
)
_OPENINGS = (_PROBES[0][:1], _PROBES[2])


class NoChatTemplate(ValueError):
    """The model has no chat template, or none that can be used for training."""


@cache
def published(name: str) -> str:
    """The text of our template `name`, one of `NAMES`."""
    return resources.files("sand_dagster.models").joinpath(f"templates/{name}.jinja").read_text()


def prompting_template(tokenizer: PreTrainedTokenizerBase, choice: TemplateChoice, model: str) -> str:
    """The template to prompt `model` with.

    Raises:
        NoChatTemplate: `choice` leaves it to the model, and the model has none.
    """
    if choice in NAMES:
        return published(choice)
    own = _own(tokenizer)
    if choice == "auto":
        ours = _ours_like(tokenizer, own)
        if ours is not None:
            return published(ours)
    if own is None:
        raise NoChatTemplate(
            f"the model {model} has no chat template, and its special tokens are not those of the household "
            f"model. Set `finetuning.chat_template` to one of {', '.join(NAMES)}, or use a chat model."
        )
    return (_trainable_variant(tokenizer, own) if choice == "auto" else None) or own


def training_chats(tokenizer: PreTrainedTokenizerBase, choice: TemplateChoice, model: str) -> TrainingChats:
    """Chats to train `model` with, written by the template that prompts it.

    Raises:
        NoChatTemplate: there is none, or it cannot be used for training.
    """
    template = prompting_template(tokenizer, choice, model)
    try:
        return TrainingChats(tokenizer, template)
    except Unstable as reason:
        raise NoChatTemplate(
            f"the model {model} cannot be trained on chats, because its chat template {reason}. {WAY_OUT}"
        ) from reason


def _trainable_variant(tokenizer: PreTrainedTokenizerBase, own: str) -> str | None:
    """TRL's variant of the model's `own` template, if only the variant can be used for training.

    An example is Qwen 3's, which drops the thoughts of earlier replies. It has to open a chat as `own` does.
    """
    if why_unstable(tokenizer, own) is None:
        return None
    # Imported here, because it imports torch, and few models need it.
    from trl.chat_template_utils import get_training_chat_template

    try:
        variant = get_training_chat_template(processing_class=tokenizer)
    except Exception:  # TRL has none for it, or the template failed in TRL's own checks
        return None
    if variant is None or why_unstable(tokenizer, variant) is not None:
        return None
    alike = all(_render(tokenizer, variant, chat) == _render(tokenizer, own, chat) for chat in _OPENINGS)
    return variant if alike else None


def _own(tokenizer: PreTrainedTokenizerBase) -> str | None:
    template = tokenizer.chat_template
    if isinstance(template, dict):  # several by name: `default` writes chats, the others tools and documents
        template = template.get("default")
    return template if isinstance(template, str) else None


def _ours_like(tokenizer: PreTrainedTokenizerBase, own: str | None) -> str | None:
    """The name of our template that writes chats as the model does.

    If the model has a template, the texts decide, not the model's name: Llama 3, 3.1 and 3.2 share their
    special tokens but not their system block. Without a template only the household model is recognised.
    """
    if own is None:
        vocabulary = tokenizer.get_vocab()
        household = tokenizer.eos_token == "<|end|>" and {"<|user|>", "<|assistant|>"} <= vocabulary.keys()
        return "household" if household else None
    wanted = _rendered(tokenizer, own)
    if not any(wanted):
        return None  # it fails on every chat, as ours do with a tokenizer that has no start token
    return next((name for name in NAMES if _rendered(tokenizer, published(name)) == wanted), None)


def _rendered(tokenizer: PreTrainedTokenizerBase, template: str) -> list[str | None]:
    return [_render(tokenizer, template, probe) for probe in _PROBES]


def _render(tokenizer: PreTrainedTokenizerBase, template: str, chat: list[Message]) -> str | None:
    try:
        return render(tokenizer, template, chat, prompting=chat[-1]["role"] == "user")
    except ChatRefused:
        return None  # as some do a system message
