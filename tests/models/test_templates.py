"""Our templates write the same text as the models' own, and are chosen by that text."""

from __future__ import annotations

from importlib import resources

import pytest
from transformers import PreTrainedTokenizerFast

from sand_dagster.models.templates import NoChatTemplate, prompting_template, published, training_chats
from sand_dagster.types import Message
from tests.training.tiny_model import HOUSEHOLD, LLAMA, QWEN, tiny_tokenizer

USER: Message = {"role": "user", "content": " Find {it}.\n"}
ASSISTANT: Message = {"role": "assistant", "content": "Thought: look\nAction: go to desk 1"}
SYSTEM: Message = {"role": "system", "content": " You are terse. "}
CHATS = (
    [USER],
    [SYSTEM, USER],
    [USER, ASSISTANT],
    [SYSTEM, USER, ASSISTANT, USER],
    [USER, ASSISTANT, USER, ASSISTANT],
)


def as_released(name: str) -> str:
    """A model's own chat template, as TRL keeps a copy of it to recognise models."""
    return resources.files("trl").joinpath(f"chat_templates/{name}.jinja").read_text()


def render(tokenizer: PreTrainedTokenizerFast, template: str, chat: list[Message], prompting: bool) -> str:
    return str(
        tokenizer.apply_chat_template(
            chat, chat_template=template, tokenize=False, add_generation_prompt=prompting
        )
    )


@pytest.mark.parametrize("prompting", [False, True])
@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize(
    ("ours", "released", "special"), [("llama-3.1", "llama3_1", LLAMA), ("qwen-2.5", "qwen2_5", QWEN)]
)
def test_ours_writes_what_the_released_template_writes(
    ours: str, released: str, special: tuple[str, ...], chat: list[Message], prompting: bool
) -> None:
    tokenizer = tiny_tokenizer(special)
    assert render(tokenizer, published(ours), chat, prompting) == render(
        tokenizer, as_released(released), chat, prompting
    )


def test_llama_states_its_dates_and_qwen_introduces_itself() -> None:
    assert render(tiny_tokenizer(LLAMA), published("llama-3.1"), [USER], True) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nFind {it}.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert render(tiny_tokenizer(QWEN), published("qwen-2.5"), [USER], True) == (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n Find {it}.\n<|im_end|>\n<|im_start|>assistant\n"
    )


def test_household_spends_one_token_on_a_turns_start_and_one_on_its_end() -> None:
    tokenizer = tiny_tokenizer(HOUSEHOLD)
    text = render(tokenizer, published("household"), [USER, ASSISTANT, USER], True)
    assert text == (
        "<|user|> Find {it}.\n<|end|><|assistant|>Thought: look\nAction: go to desk 1<|end|>"
        "<|user|> Find {it}.\n<|end|><|assistant|>"
    )


@pytest.mark.parametrize(
    ("released", "special", "expected"),
    [
        ("llama3_1", LLAMA, "llama-3.1"),
        ("qwen2_5", QWEN, "qwen-2.5"),
        ("llama3", LLAMA, None),  # the same special tokens, another system block
        ("qwen3_instruct_2507", QWEN, None),  # the same special tokens, no default system message
    ],
)
def test_auto_takes_ours_only_where_it_writes_the_same(
    released: str, special: tuple[str, ...], expected: str | None
) -> None:
    tokenizer = tiny_tokenizer(special)
    tokenizer.chat_template = as_released(released)
    chosen = prompting_template(tokenizer, "auto", "a/model")
    assert chosen == (published(expected) if expected else tokenizer.chat_template)


def test_a_template_that_fails_is_not_taken_for_ours() -> None:
    tokenizer = tiny_tokenizer(QWEN)
    tokenizer.chat_template = "{{ raise_exception('content has to be a list') }}"
    assert "bos_token" in published("llama-3.1") and tokenizer.bos_token is None, "so Llama's fails as well"
    assert prompting_template(tokenizer, "auto", "m") == tokenizer.chat_template
    with pytest.raises(NoChatTemplate, match="content has to be a list"):
        training_chats(tokenizer, "auto", "m")


def test_auto_recognises_the_household_model_by_its_special_tokens() -> None:
    assert training_chats(tiny_tokenizer(HOUSEHOLD), "auto", "m").template == published("household")


def test_a_model_without_a_template_is_an_error_that_says_what_to_set() -> None:
    with pytest.raises(
        NoChatTemplate, match=r"org/base has no chat template.*`finetuning.chat_template`.*llama-3\.1"
    ):
        prompting_template(tiny_tokenizer(QWEN), "auto", "org/base")


def test_auto_takes_trls_variant_of_a_template_that_cannot_be_trained_with() -> None:
    tokenizer = tiny_tokenizer(("<think>", "</think>", *QWEN))
    tokenizer.chat_template = as_released("qwen3")
    assert prompting_template(tokenizer, "auto", "m") == as_released("qwen3_training")
    assert prompting_template(tokenizer, "model", "m") == tokenizer.chat_template
    chats = training_chats(tokenizer, "auto", "m")
    with pytest.raises(NoChatTemplate, match=r"the model m cannot be trained"):
        training_chats(tokenizer, "model", "m")
    tokenizer.chat_template = chats.template
    assert training_chats(tokenizer, "auto", "m").template == chats.template, (
        "a checkpoint gets the same prompts"
    )


def test_of_several_templates_the_default_is_taken() -> None:
    tokenizer = tiny_tokenizer(QWEN)
    tokenizer.chat_template = {"tool_use": "tools", "default": as_released("qwen3_instruct_2507")}
    assert prompting_template(tokenizer, "auto", "m") == as_released("qwen3_instruct_2507")
