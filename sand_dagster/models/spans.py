"""Which tokens of a chat the assistant wrote (Eq. 2, Eq. 7), found by rendering the chat turn by turn.

Few templates mark the assistant's text, and a mark does not prove that the text before it equals the prompt.
So a reply's tokens are those between the engine's prompt for it and the token that ends its turn. This works
for any template that is prefix-stable, which means that it writes a message in the same way whatever follows.
Others are refused, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sand_dagster.models.chat import ChatEncoder
from sand_dagster.models.rendering import ChatRefused
from sand_dagster.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SAID = "Thought: a door\nAction: open it"
_PROBE: list[Message] = [
    {"role": "user", "content": "You are in a room."},
    {"role": "assistant", "content": _SAID},
    {"role": "user", "content": "Observation: Nothing happens."},
    {"role": "assistant", "content": "Action: look"},
]
_SHOWN = 40


class Unstable(ValueError):
    """A template cannot be used for training, or not for some chat. The message's subject is the template."""


class TrainingChats:
    """Chats as tokens to train on, with marks at the tokens that the assistant has to learn.

    `end_of_turn` is the id of the token that ends the assistant's turn, the last one of every reply.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str) -> None:
        """Check `template` on a small chat.

        Raises:
            Unstable: it cannot be used for training.
        """
        self.template = template
        self.end_of_turn = -1
        self._end = ""
        try:
            self._encoder = ChatEncoder(tokenizer, template)
            self._find_end_of_turn(tokenizer)
            self._check_history()
        except ChatRefused as error:
            raise Unstable(error.reason) from error

    def tokens(self, conversation: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """The token ids up to the end of the assistant's last turn, and which of them the assistant wrote.

        Each reply and its end-of-turn token are marked. The tokens before a reply are exactly the engine's
        prompt for it.

        Raises:
            Unstable: the template writes this conversation differently from the prompt, or leaves out a part.
        """
        replies = [i for i, message in enumerate(conversation) if message["role"] == "assistant"]
        if not replies:
            return [], []
        try:
            return self._marked(conversation[: replies[-1] + 1])
        except ChatRefused as error:
            raise Unstable(error.reason) from error

    def _marked(self, conversation: Sequence[Message]) -> tuple[list[int], list[bool]]:
        text = self._encoder.render(conversation, prompting=False)
        ids = self._encoder.encode_text(text)
        written = [False] * len(ids)
        end = -1
        for number, message in enumerate(conversation):
            content = message["content"].strip()
            if message["role"] != "assistant":
                if content not in text:
                    raise Unstable(f"leaves out text of message {number + 1} ({message['role']})")
                continue
            prompt = self._encoder.render(conversation[:number], prompting=True)
            if not text.startswith(prompt):
                raise Unstable(
                    f"gives a prompt for message {number + 1} that differs from the text before it: "
                    f"{_difference(prompt, text)}"
                )
            prompt_ids = self._encoder.encode_text(prompt)
            start = len(prompt_ids)
            if ids[:start] != prompt_ids:
                raise Unstable(
                    f"merges the first tokens of message {number + 1} with those of the prompt before it "
                    f"({prompt[-_SHOWN:]!r} and then {text[len(prompt) :][:_SHOWN]!r})"
                )
            stop = text.find(self._end, len(prompt))
            if stop < 0 or content not in text[len(prompt) : stop]:
                raise Unstable(
                    f"does not write the whole text of message {number + 1} (assistant) before "
                    f"the end of its turn, {self._end!r}: {text[len(prompt) :][:_SHOWN]!r}"
                )
            # Added tokens may stand there, such as empty thoughts: they are no part of a reply as it is read.
            if added := self._special.sub("", text[len(prompt) : stop].replace(content, "", 1)).strip():
                raise Unstable(
                    f"writes {added!r} beside the text of message {number + 1} (assistant), which the prompt "
                    "for it does not have: the agent would learn to write that in its replies "
                    f"({prompt[-_SHOWN:]!r} and then {text[len(prompt) :][:_SHOWN]!r})"
                )
            end = ids.index(self.end_of_turn, start)
            written[start : end + 1] = [True] * (end + 1 - start)
        return ids[: end + 1], written[: end + 1]

    def _find_end_of_turn(self, tokenizer: PreTrainedTokenizerBase) -> None:
        special = {text: int(i) for text, i in tokenizer.get_added_vocab().items()}
        special |= dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        prompt = self._encoder.render(_PROBE[:1], prompting=True)
        text = self._encoder.render(_PROBE[:2], prompting=False)
        if not text.startswith(prompt):
            raise Unstable(
                f"gives a prompt that differs from the text before a reply: {_difference(prompt, text)}"
            )
        _, found, after = text[len(prompt) :].partition(_SAID)
        if not found:
            raise Unstable(f"leaves out the assistant's text: it writes {text[len(prompt) :][:_SHOWN]!r}")
        texts = "|".join(re.escape(text) for text in sorted(special, key=len, reverse=True))
        self._special = re.compile(texts)
        end = re.match(rf"\s*({texts})", after) if texts else None
        if end is None:
            raise Unstable(
                f"writes {after[:_SHOWN]!r} after the assistant's text, and no token that ends its turn: "
                "the agent could not learn to stop"
            )
        self._end = end[1]
        self.end_of_turn = special[end[1]]

    def _check_history(self) -> None:
        """The first of two replies has to be written as if it were the only one."""
        alone, _ = self._marked(_PROBE[:2])
        followed, _ = self._marked(_PROBE)
        if followed[: len(alone)] != alone:
            raise Unstable("writes the assistant's earlier messages differently from its last one")


def why_unstable(tokenizer: PreTrainedTokenizerBase, template: str) -> str | None:
    """Why `template` cannot be used for training; None if it can."""
    try:
        TrainingChats(tokenizer, template)
    except Unstable as reason:
        return str(reason)
    return None


def _difference(prompt: str, text: str) -> str:
    same = next((i for i, (a, b) in enumerate(zip(prompt, text, strict=False)) if a != b), len(text))
    after, asked, found = prompt[:same][-_SHOWN:], prompt[same:][:_SHOWN], text[same:][:_SHOWN]
    return f"after {after!r} the prompt has {asked!r}, and the chat {found!r}"
