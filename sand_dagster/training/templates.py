"""Our chat templates: what a chat looks like as text, and which of it the assistant wrote.

Published templates render a chat but do not mark the assistant's spans, so nothing can tell which tokens
Eq. 2 and Eq. 7 are over. Ours render the same text and carry the marks. Each is a file of `templates/`.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Literal

import jinja2

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TemplateChoice = Literal["auto", "household", "llama-3.1", "qwen-2.5", "model"]
"""`auto`: ours where it renders what the model's own does, else the model's own; `model`: the model's own."""

NAMES = ("household", "llama-3.1", "qwen-2.5")
_MARK = re.compile(r"\{%-?\s*generation\b")
_PROBES: tuple[list[dict[str, str]], ...] = (
    [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": " b\n"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
)


class NoChatTemplate(ValueError):
    """The model says no way to write a chat, or none that marks what the assistant wrote."""


@cache
def published(name: str) -> str:
    """The text of our template `name`, one of `NAMES`."""
    return resources.files("sand_dagster.training").joinpath(f"templates/{name}.jinja").read_text()


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
            f"model. Set `chat_template` to one of {', '.join(NAMES)}, or use a chat model."
        )
    return own


def training_template(tokenizer: PreTrainedTokenizerBase, choice: TemplateChoice, model: str) -> str:
    """The template to train `model` with: as for prompting, and it marks the assistant's spans.

    Raises:
        NoChatTemplate: there is none, or it has no `{% generation %}` marks.
    """
    template = prompting_template(tokenizer, choice, model)
    if _MARK.search(template) is None:
        raise NoChatTemplate(
            f"the chat template of the model {model} does not mark the assistant's text with "
            "{% generation %} ... {% endgeneration %}, so the loss cannot be kept to it. Set `chat_template` "
            f"to one of {', '.join(NAMES)} if the model speaks that format, or add the marks to the "
            "chat template in the model's folder and set `chat_template: model`."
        )
    return template


def _own(tokenizer: PreTrainedTokenizerBase) -> str | None:
    template = tokenizer.chat_template
    return template if isinstance(template, str) else None


def _ours_like(tokenizer: PreTrainedTokenizerBase, own: str | None) -> str | None:
    """The name of our template that writes chats as the model does.

    With a template of its own the texts decide, not the model's name: Llama 3, 3.1 and 3.2 share their
    special tokens but not their system block. Without one only the household model is recognised.
    """
    if own is None:
        vocabulary = tokenizer.get_vocab()
        household = tokenizer.eos_token == "<|end|>" and {"<|user|>", "<|assistant|>"} <= vocabulary.keys()
        return "household" if household else None
    wanted = _rendered(tokenizer, own)
    return next((name for name in NAMES if _rendered(tokenizer, published(name)) == wanted), None)


def _rendered(tokenizer: PreTrainedTokenizerBase, template: str) -> list[str | None]:
    return [_render(tokenizer, template, probe) for probe in _PROBES]


def _render(tokenizer: PreTrainedTokenizerBase, template: str, chat: list[dict[str, str]]) -> str | None:
    prompting = chat[-1]["role"] == "user"
    try:
        return str(
            tokenizer.apply_chat_template(
                chat, chat_template=template, tokenize=False, add_generation_prompt=prompting
            )
        )
    except jinja2.TemplateError:
        return None  # the template refuses this chat, as some do a system message
