"""A model served elsewhere, behind any API that is compatible with OpenAI's chat completions."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, Literal, cast

import openai
from openai.types.chat import ChatCompletionMessageParam

from sand_dagster.generation.settings import GenerationSettings, ModelSource
from sand_dagster.generation.stats import GenerationStats, Meter
from sand_dagster.sand.interfaces import PromptTooLong
from sand_dagster.sand.types import Completion, Message, Sampling

_TOO_LONG = re.compile(
    r"context[_ ](?:length|window|size)|max_model_len|maximum context|too long", re.IGNORECASE
)
_PROMPT_TOKENS = re.compile(
    r"(?:contains?(?: at least)?|resulted in|\()\s*(\d+)\s*(?:(?:input |prompt )?tokens|in the messages)",
    re.IGNORECASE,
)


class EndpointFailed(RuntimeError):
    """The endpoint could not be reached, or refused; the message names URL, model and reason."""


class EndpointGenerator:
    """A `Generator` (sand/interfaces.py) over an OpenAI-compatible URL. The server's chat template is used.

    `context` is the configured one, else what `/models` says of the model (vLLM does), else None: then only
    the server's refusal tells that a prompt is too long.
    """

    def __init__(self, client: openai.AsyncOpenAI, source: ModelSource, context: int | None) -> None:
        self.model_id = source.model
        self.context = context
        self._client = client
        self._url = str(source.endpoint)
        self._meter = Meter()

    @classmethod
    async def start(cls, source: ModelSource, settings: GenerationSettings) -> EndpointGenerator:
        """Connect, and check that the endpoint serves the model.

        Raises:
            EndpointFailed: no answer after all retries, or another model is served.
        """
        assert source.endpoint is not None
        client = openai.AsyncOpenAI(
            base_url=source.endpoint,
            api_key=_key(source),
            max_retries=settings.endpoint_retries,
            timeout=settings.endpoint_timeout,
        )
        generator = cls(client, source, settings.context)
        try:
            served = {model.id: model async for model in client.models.list()}
        except openai.NotFoundError:
            return generator  # the list of models is optional; completions will tell
        except openai.OpenAIError as error:
            await client.close()
            raise generator._failed(error) from error
        if served and source.model not in served:
            await client.close()
            raise EndpointFailed(
                f"the endpoint {source.endpoint} does not serve the model {source.model!r}; "
                f"it serves {', '.join(sorted(served)[:10])}"
            )
        length = getattr(served.get(source.model), "max_model_len", None)
        if generator.context is None and isinstance(length, int):
            generator.context = length
        return generator

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Sample the assistant's next message.

        Raises:
            PromptTooLong: the server says so, or used more than `context`.
            EndpointFailed: no usable answer after all retries.
        """
        optional: dict[str, Any] = {"stop": list(sampling.stop)} if sampling.stop else {}
        if sampling.temperature > 0:
            optional["seed"] = sampling.seed
        if sampling.pattern:
            optional["extra_body"] = {"structured_outputs": {"regex": sampling.pattern}}
        self._meter.begin()
        try:
            reply = await self._client.chat.completions.create(
                model=self.model_id,
                messages=cast(list[ChatCompletionMessageParam], list(messages)),
                temperature=sampling.temperature,
                max_tokens=sampling.max_tokens,
                **optional,
            )
        except openai.BadRequestError as error:
            if _TOO_LONG.search(str(error)):
                raise self._too_long(error) from error
            raise self._failed(error) from error
        except openai.OpenAIError as error:
            raise self._failed(error) from error
        finally:
            self._meter.end()
        if not reply.choices:
            raise EndpointFailed(
                f"the endpoint {self._url} answered without a choice: {reply.model_dump_json()}"
            )
        usage = reply.usage
        prompt_tokens = usage.prompt_tokens if usage else 0
        completion_tokens = usage.completion_tokens if usage else 0
        if self.context is not None and prompt_tokens + sampling.max_tokens > self.context:
            raise PromptTooLong(prompt_tokens, self.context)
        details = usage.prompt_tokens_details if usage else None
        self._meter.count(prompt_tokens, (details.cached_tokens or 0) if details else 0, completion_tokens)
        choice = reply.choices[0]
        finish: Literal["stop", "length"] = "length" if choice.finish_reason == "length" else "stop"
        return Completion(choice.message.content or "", prompt_tokens, completion_tokens, finish)

    def stats(self) -> GenerationStats:
        """Counts since this generator was opened."""
        return self._meter.stats()

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._client.close()

    def _too_long(self, error: openai.BadRequestError) -> PromptTooLong:
        said = _PROMPT_TOKENS.search(str(error))
        return PromptTooLong(int(said[1]) if said else 0, self.context or 0)

    def _failed(self, error: openai.OpenAIError) -> EndpointFailed:
        status = f"HTTP {error.status_code}: " if isinstance(error, openai.APIStatusError) else ""
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        return EndpointFailed(
            f"the endpoint {self._url} did not complete a chat with the model {self.model_id!r}: "
            f"{status}{type(error).__name__}: {error}{cause}\n"
            "Check that the server runs, and that the URL is the one that ends in /v1."
        )


def _key(source: ModelSource) -> str:
    if source.api_key_variable is None:
        return "none"  # the client insists on one; a server without keys ignores it
    key = os.environ.get(source.api_key_variable)
    if not key:
        raise EndpointFailed(
            f"the key for the endpoint {source.endpoint} is to be in the environment variable "
            f"{source.api_key_variable}, which is not set"
        )
    return key
