"""The loss is over all tokens of the assistant, and no others."""

from __future__ import annotations

import pytest

from sand_dagster.models.spans import TrainingChats
from sand_dagster.models.templates import published
from sand_dagster.training.examples import IGNORED, Example, encode, encode_all
from sand_dagster.types import Message
from tests.training.tiny_model import HOUSEHOLD, LLAMA, QWEN, tiny_chat, tiny_tokenizer

FORMATS = [("household", HOUSEHOLD), ("llama-3.1", LLAMA), ("qwen-2.5", QWEN)]
CHAT: list[Message] = [
    {"role": "user", "content": "You are in a room.\n\nAction: is what I want"},
    {"role": "assistant", "content": "Thought: an apple is 1\nAction: go to desk 1"},
    {"role": "user", "content": "Observation: Nothing happens."},
    {"role": "assistant", "content": "Action: open drawer 2"},
    {"role": "user", "content": "Observation: You see a mug."},
]


def spans(example: Example) -> list[list[int]]:
    """The sequences of tokens over which the loss is computed."""
    found: list[list[int]] = []
    previous = IGNORED
    for label in example.labels:
        if label != IGNORED:
            if previous == IGNORED:
                found.append([])
            found[-1].append(label)
        previous = label
    return found


@pytest.mark.parametrize(("name", "special"), FORMATS)
def test_the_loss_is_over_each_reply_and_its_end_of_turn(name: str, special: tuple[str, ...]) -> None:
    tokenizer = tiny_tokenizer(special)
    example = encode(CHAT, TrainingChats(tokenizer, published(name)), 10_000)
    assert example is not None
    assert [tokenizer.decode(span) for span in spans(example)] == [
        CHAT[1]["content"] + special[-2],
        CHAT[3]["content"] + special[-2],
    ]
    assert all(
        label in (IGNORED, token) for token, label in zip(example.input_ids, example.labels, strict=True)
    )


@pytest.mark.parametrize(("name", "special"), FORMATS)
def test_training_continues_the_prompt_that_generation_makes(name: str, special: tuple[str, ...]) -> None:
    tokenizer = tiny_tokenizer(special)
    example = encode(CHAT[:2], TrainingChats(tokenizer, published(name)), 10_000)
    assert example is not None
    prompt = tokenizer.apply_chat_template(
        CHAT[:1], chat_template=published(name), add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert example.input_ids[: len(prompt)] == prompt
    assert example.labels[: len(prompt)] == [IGNORED] * len(prompt)
    assert example.labels[len(prompt)] != IGNORED


def test_what_follows_the_last_reply_is_left_out() -> None:
    example = encode(CHAT, TrainingChats(tiny_tokenizer(), published("household")), 10_000)
    assert example is not None
    assert example == encode(CHAT[:4], TrainingChats(tiny_tokenizer(), published("household")), 10_000)
    assert example.labels[-1] == tiny_tokenizer().eos_token_id


@pytest.mark.parametrize(("name", "special"), FORMATS)
def test_cutting_keeps_the_beginning_with_its_labels(name: str, special: tuple[str, ...]) -> None:
    tokenizer = tiny_tokenizer(special)
    whole = encode(CHAT, TrainingChats(tokenizer, published(name)), 10_000)
    assert whole is not None
    assert not whole.truncated
    first_reply = next(i for i, label in enumerate(whole.labels) if label != IGNORED)
    for length in range(1, len(whole.input_ids) + 1):
        cut = encode(CHAT, TrainingChats(tokenizer, published(name)), length)
        if length <= first_reply:
            assert cut is None
        else:
            assert cut is not None
            assert cut.input_ids == whole.input_ids[:length]
            assert cut.labels == whole.labels[:length]
            assert cut.truncated == (length < len(whole.input_ids))


def test_conversations_without_a_reply_in_reach_are_dropped_and_named() -> None:
    long_prompt: list[Message] = [
        {"role": "user", "content": "look " * 200},
        {"role": "assistant", "content": "Action: look"},
    ]
    silent: list[Message] = [{"role": "user", "content": "look"}]
    chats = [tiny_chat(1, turns=1), long_prompt, silent, tiny_chat(2, turns=8)]
    examples = encode_all(chats, TrainingChats(tiny_tokenizer(), published("household")), 60)
    assert examples.dropped == [1, 2]
    assert [example.truncated for example in examples.kept] == [False, True]
    assert examples.truncated == [3]
    masked = sum(label == IGNORED for example in examples.kept for label in example.labels)
    assert 0 < examples.trained_tokens == examples.tokens - masked
    assert examples.tokens == len(examples.kept[0].input_ids) + 60
