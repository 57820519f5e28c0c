"""The only place where a chat becomes text: training and prompting use the same text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sand_dagster.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Some templates write today's date (Llama 3.2), so a prompt on another day would differ from the training
# text. This is the date that Llama's templates write if there is no clock.
_TODAY = datetime(2024, 7, 26)


class ChatRefused(ValueError):
    """A chat template refuses a chat, for example a system message. The template is `reason`'s subject."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the model's chat template {reason}")
        self.reason = reason


def render(
    tokenizer: PreTrainedTokenizerBase, template: str, messages: Sequence[Message], *, prompting: bool
) -> str:
    """`messages` as text; with `prompting` up to the point where the assistant writes.

    The date is the same every day. Hidden reasoning is switched off in templates that have it (Qwen 3),
    because the paper's thoughts are part of the reply (Section 3).

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
    except Exception as error:  # a template may call methods of Python's strings and lists, which raise any
        roles = ", ".join(message["role"] for message in messages) or "none"
        raise ChatRefused(f"refuses a chat with messages of the roles {roles}: {error}") from error
    return str(text)
