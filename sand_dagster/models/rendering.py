"""The one way in which a chat becomes text: what is trained on is what the model is prompted with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import jinja2

from sand_dagster.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Some templates state the date of the day (Llama 3.2), and a chat that is prompted another day than it was
# trained on would be another chat. This is what Llama's templates say where there is no clock.
_TODAY = datetime(2024, 7, 26)


class ChatRefused(ValueError):
    """A chat template refuses a chat, as some do a system message; `reason` speaks of the template."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the model's chat template {reason}")
        self.reason = reason


def render(
    tokenizer: PreTrainedTokenizerBase, template: str, messages: Sequence[Message], *, prompting: bool
) -> str:
    """`messages` as text; with `prompting` up to where the assistant writes.

    The date is the same every day. Templates that can let a model think out of sight (Qwen 3) are told not
    to: the paper's thoughts are part of the reply (Section 3).

    Raises:
        ChatRefused: the template refuses these messages, or fails on them.
    """
    try:
        text = tokenizer.apply_chat_template(
            list(messages),
            chat_template=template,
            tokenize=False,
            add_generation_prompt=prompting,
            enable_thinking=False,
            strftime_now=_TODAY.strftime,
        )
    except (jinja2.TemplateError, TypeError) as error:
        roles = ", ".join(message["role"] for message in messages) or "none"
        raise ChatRefused(f"refuses a chat with messages of the roles {roles}: {error}") from error
    return str(text)
