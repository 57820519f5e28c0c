from __future__ import annotations

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from sand_dagster.models.templates import published
from toy_alfworld.model import CONTEXT, weights
from toy_alfworld.model.recipe.tokenizer import END, PAD, household_words, prompt_pieces
from toy_alfworld.model.teachers.documents import LESSONS, document


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(weights())
    return loaded


@pytest.mark.parametrize(
    "text",
    [
        "Action: go to cabinet 12\nObservation: The cabinet 12 is closed.",
        "  two  spaces, a tab\t, and three\n\n\nlines ",
        "smörgåsbord 😀 你好 {braces} <|not a token|> **bold** 3.14",
        "- go to fridge 1: the apple should be there, so it is worth a look.",
    ],
)
def test_any_text_comes_back_as_it_was(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_documents_come_back_as_they_were(tokenizer: PreTrainedTokenizerBase) -> None:
    for index in range(30):
        for message in document("round trip", LESSONS + index).messages:
            assert tokenizer.decode(tokenizer(message["content"])["input_ids"]) == message["content"]


def test_prompt_pieces_and_names_are_single_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    names = [f" {word}" for word in household_words()] + [f" {number}" for number in range(60)]
    for text in (*prompt_pieces(), *names):
        assert len(tokenizer(text)["input_ids"]) == 1, text


def test_a_prompt_costs_little_more_than_what_fills_it(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = document("cost", 0, kind="deliberation").messages[0]["content"]
    fixed = [piece for piece in prompt_pieces() if piece in prompt]
    rest = prompt
    for piece in fixed:
        rest = rest.replace(piece, "")
    assert len(tokenizer(prompt)["input_ids"]) < len(tokenizer(rest)["input_ids"]) + 20


def test_the_chat_template_is_the_trainers(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.chat_template == published("household")
    assert (tokenizer.eos_token, tokenizer.pad_token) == (END, PAD)
    assert tokenizer.model_max_length == CONTEXT
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<|user|>hi<|end|><|assistant|>ho<|end|>"
