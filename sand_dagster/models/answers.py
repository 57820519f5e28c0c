"""The answers of an OpenAI-compatible server, parsed strictly, because proxies may answer other things."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Garbled(ValueError):
    """An answer is not of the expected form; the message says what is wrong with it."""


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Details(_Answer):
    cached_tokens: int | None = None


class Usage(_Answer):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    prompt_tokens_details: Details | None = None


class Said(_Answer):
    content: str | None = None
    """None if the model wrote only reasoning or tool calls."""


class Choice(_Answer):
    message: Said
    finish_reason: str | None = None


class ChatCompletion(_Answer):
    """The answer to a chat: one choice, and the token counts if the server gives them."""

    choices: list[Choice] = Field(min_length=1)
    usage: Usage | None = None
    model: str | None = None
    """The server's name of the model that answered."""


class Text(_Answer):
    text: str
    finish_reason: str | None = None


class TextCompletion(_Answer):
    """The answer to a prompt that is no chat: one choice, and the token counts."""

    choices: list[Text] = Field(min_length=1)
    usage: Usage
    model: str | None = None
    """The server's name of the model that answered."""


class Served(_Answer):
    """A model of a server; vLLM also gives the longest prompt and completion, in tokens."""

    id: str
    max_model_len: int | None = None


class Models(_Answer):
    data: list[Served]


class Version(_Answer):
    """What vLLM answers at /version."""

    version: str


A = TypeVar("A", ChatCompletion, TextCompletion, Models, Version)


def read(body: str, kind: type[A]) -> A:
    """The answer in `body`.

    Raises:
        Garbled: it is something else.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Garbled(f"{where}: {first['msg']}" if where else first["msg"]) from error


def without_key(text: str, key: str | None) -> str:
    """`text` with a mark in place of the `key`, which a server may have repeated."""
    return text.replace(key, "[API key]") if key else text


def shown(body: str, key: str | None, length: int = 200) -> str:
    """The first `length` characters of what a server wrote, without the `key`."""
    text = without_key(body, key)
    return text[:length] + ("…" if len(text) > length else "")
