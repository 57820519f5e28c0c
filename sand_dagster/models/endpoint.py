"""A model on a server, behind any API that is compatible with OpenAI's chat completions."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar

import httpx
import openai

from sand_dagster.interfaces import PromptTooLong
from sand_dagster.models.answers import (
    A,
    ChatCompletion,
    Garbled,
    Models,
    TextCompletion,
    Usage,
    Version,
    read,
    shown,
)
from sand_dagster.models.driver import Sampled
from sand_dagster.models.neutral import EXTENDED, STANDARD
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.models.stats import GenerationStats, Meter
from sand_dagster.types import Completion, Message, Sampling

_TOO_LONG = re.compile(
    r"context[_ ](?:length|window|size)|max_model_len|maximum context|too long", re.IGNORECASE
)
_PROMPT_TOKENS = re.compile(
    r"(?:contains?(?: at least)?|resulted in|\()\s*(\d+)\s*(?:(?:input |prompt )?tokens|in the messages)",
    re.IGNORECASE,
)
_UNKNOWN_FIELD = re.compile(
    rf"\b(?:{'|'.join(EXTENDED)})\b|unrecognized|unknown (?:field|parameter|argument)|extra (?:fields|inputs)"
    "|additional propert",
    re.IGNORECASE,
)
_STANDARD_ONLY: set[tuple[str, str]] = set()
"""URL and model of the endpoints that do not accept vLLM's fields."""
_GARBLED_WAIT = 0.5  # seconds
_ERROR_LENGTH = 500
_WANTED = {ChatCompletion: "a chat completion", TextCompletion: "a completion", Models: "a list of models"}
_LOG = logging.getLogger(__name__)
C = TypeVar("C", ChatCompletion, TextCompletion)


class EndpointFailed(RuntimeError):
    """The endpoint could not be reached, or refused; the message names URL, model and reason.

    It is raised without the client's own error as its cause: that error contains the raw answer, which may
    repeat the key, and Dagster would store it among its events. So everything needed from that error is here.

    `reached`: whether the server was reached; `status`: its HTTP status if that was an error; `retry_after`:
    the seconds that it asks to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        reached: bool = True,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reached, self.status, self.retry_after = reached, status, retry_after


class EndpointGenerator:
    """A `Generator` (sand/interfaces.py) over an OpenAI-compatible URL.

    `complete` sends a chat, which becomes a prompt by the server's chat template. `sample` sends a prompt of
    token ids, which vLLM and some other servers accept.

    `context` is the configured one, else the one that `/models` gives for the model (vLLM does), else None:
    then only the server's refusal shows that a prompt is too long.
    """

    def __init__(self, client: openai.AsyncOpenAI, source: ModelSource, context: int | None) -> None:
        self.model_id = source.model
        self.context = context
        self._client = client
        self._url = str(source.endpoint)
        self._source = source
        self._key = client.api_key if source.api_key_variable else None
        self._meter = Meter()

    @classmethod
    async def start(cls, source: ModelSource, settings: GenerationSettings) -> EndpointGenerator:
        """Connect, and check that the endpoint serves the model.

        Raises:
            EndpointFailed: no answer after all retries, or another model is served, or with a shorter context
                than the prompts of `source.tokenizer` may have.
        """
        assert source.endpoint is not None
        client = openai.AsyncOpenAI(
            base_url=source.endpoint,
            api_key=_key(source),
            max_retries=settings.endpoint_retries,
            timeout=settings.endpoint_timeout,
        )
        generator = cls(client, source, settings.max_model_len)
        try:
            models = await generator._read(generator._list, Models)
        except openai.NotFoundError:
            return generator  # the list of models is optional; completions show the same
        except openai.OpenAIError as error:
            await client.close()
            raise generator._failed(error) from None
        except EndpointFailed:
            await client.close()
            raise
        try:
            await generator._check_version()
        except EndpointFailed:
            await client.close()
            raise
        served = {model.id: model for model in models.data}
        if served and source.model not in served:
            await client.close()
            raise EndpointFailed(
                f"the endpoint {source.endpoint} does not serve the model {source.model!r}; "
                f"it serves {', '.join(sorted(served)[:10])}" + how_to_serve(source)
            )
        if source.model in served:
            longest, needed = served[source.model].max_model_len, generator.context
            if source.tokenizer and longest and needed and longest < needed:
                await client.close()
                raise EndpointFailed(
                    f"the endpoint {source.endpoint} serves the model {source.model!r} with a context of "
                    f"{longest} tokens, but the experiment's is {needed}. Start it with "
                    f"--max-model-len {needed}, or set model.max_model_len in the experiment"
                )
            generator.context = needed or longest
        return generator

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Sample the assistant's next message.

        Raises:
            PromptTooLong: the server says so, or it used more than `context`.
            EndpointFailed: no usable answer after all retries.
        """
        reply = await self._completed(
            self._client.chat.completions.with_raw_response.create,
            {"messages": list(messages)},
            sampling,
            ChatCompletion,
        )
        choice = reply.choices[0]
        prompt_tokens, _, tokens = self._counted(reply.usage, sampling)
        return Completion(choice.message.content or "", prompt_tokens, tokens, _finish(choice.finish_reason))

    async def sample(self, prompt: Sequence[int], sampling: Sampling) -> Sampled:
        """Sample what follows the token ids in `prompt`.

        Raises:
            PromptTooLong: the server says so, or it used more than `context`.
            EndpointFailed: no usable answer after all retries.
        """
        reply = await self._completed(
            self._client.completions.with_raw_response.create,
            {"prompt": list(prompt)},
            sampling,
            TextCompletion,
        )
        choice = reply.choices[0]
        _, cached, tokens = self._counted(reply.usage, sampling)
        return Sampled(choice.text, tokens, cached, _finish(choice.finish_reason))

    async def _completed(self, create: Any, prompt: dict[str, Any], sampling: Sampling, kind: type[C]) -> C:
        """The answer to `prompt`; `create` is the client's method for it."""
        request: dict[str, Any] = {
            "model": self.model_id,
            **prompt,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            **STANDARD,
        }
        if sampling.stop:
            request["stop"] = list(sampling.stop)
        if sampling.temperature > 0:
            request["seed"] = sampling.seed
        pattern = {"structured_outputs": {"regex": sampling.pattern}} if sampling.pattern else {}
        self._meter.begin()
        try:
            reply = await self._read(lambda: self._ask(create, request, pattern), kind)
        except openai.APIStatusError as error:
            if isinstance(error, openai.BadRequestError) and _TOO_LONG.search(str(error)):
                raise self._too_long(error) from None
            raise self._failed(error) from None
        except openai.OpenAIError as error:
            raise self._failed(error) from None
        finally:
            self._meter.end()
        if self._source.checkpoint and reply.model and reply.model != self.model_id:
            raise EndpointFailed(
                f"the endpoint {self._url} was asked for the model {self.model_id!r} and answered with "
                f"{reply.model!r}" + how_to_serve(self._source)
            )
        return reply

    def _counted(self, usage: Usage | None, sampling: Sampling) -> tuple[int, int, int]:
        """Tokens of the prompt, those of them that were cached, and tokens of the completion."""
        prompt_tokens = usage.prompt_tokens if usage else 0
        completion_tokens = usage.completion_tokens if usage else 0
        if self.context is not None and prompt_tokens + sampling.max_tokens > self.context:
            raise PromptTooLong(prompt_tokens, self.context)
        details = usage.prompt_tokens_details if usage else None
        cached = (details.cached_tokens or 0) if details else 0
        standard_only = (self._url, self.model_id) in _STANDARD_ONLY
        self._meter.count(prompt_tokens, cached, completion_tokens, standard_only)
        return prompt_tokens, cached, completion_tokens

    async def _ask(self, create: Any, request: dict[str, Any], pattern: dict[str, Any]) -> str:
        """The body of the answer. If a server does not know vLLM's fields, the request leaves them out."""
        here = (self._url, self.model_id)
        if here in _STANDARD_ONLY:
            return await self._post(create, request, pattern)
        try:
            return await self._post(create, request, {**EXTENDED, **pattern})
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if not _UNKNOWN_FIELD.search(str(error)) or _TOO_LONG.search(str(error)):
                raise
            body = await self._post(create, request, pattern)
            if here not in _STANDARD_ONLY:
                _STANDARD_ONLY.add(here)
                _LOG.warning(
                    "The endpoint %s does not accept %s for the model %r, so requests leave them out: if its "
                    "defaults differ, so does the distribution. Its answer: %s",
                    self._url,
                    ", ".join(EXTENDED),
                    self.model_id,
                    shown(str(error), self._key),
                )
            return body

    async def _post(self, create: Any, request: dict[str, Any], extra: dict[str, Any]) -> str:
        return str((await create(**request, extra_body=extra or None)).text)

    async def _list(self) -> str:
        answer: Any = await self._client.models.with_raw_response.list()
        return str(answer.text)

    async def _check_version(self) -> None:
        """Compare the server's vLLM with the one that the rows' identity names.

        Raises:
            EndpointFailed: it is another one.
        """
        if (wanted := self._source.engine_version) is None:
            return
        try:
            answer: Any = await self._client.get(
                f"{self._url.removesuffix('/').removesuffix('/v1')}/version", cast_to=httpx.Response
            )
            found = read(answer.text, Version).version
        except (openai.OpenAIError, Garbled) as error:
            _LOG.warning(
                "The endpoint %s does not say which version of vLLM it has, but rows are recorded as made "
                "with %s: %s",
                self._url,
                wanted,
                shown(str(error), self._key),
            )
            return
        if found.partition("+")[0] != wanted.partition("+")[0]:
            raise EndpointFailed(
                f"the endpoint {self._url} has vLLM {found}, but rows would be recorded as made with "
                f"{wanted}, which is installed here. Install the same version at both places, or name the "
                "server in the experiment, under generation, where its version is not part of the record"
            )

    async def _read(self, ask: Callable[[], Awaitable[str]], kind: type[A]) -> A:
        """The answer to `ask`; if the answer has another form, the request is repeated once."""
        try:
            return read(await ask(), kind)
        except Garbled:
            await asyncio.sleep(_GARBLED_WAIT)
        body = await ask()
        try:
            return read(body, kind)
        except Garbled as error:
            raise EndpointFailed(
                f"the endpoint {self._url} answered twice for the model {self.model_id!r}, but the answer is "
                f"not {_WANTED[kind]} ({error}). It begins:\n{shown(body, self._key) or '(empty)'}\n"
                "Check that the URL is the one that ends in /v1, and that no proxy answers instead."
            ) from None

    def stats(self) -> GenerationStats:
        """Counts since this generator was opened."""
        return self._meter.stats()

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._client.close()

    def _too_long(self, error: openai.BadRequestError) -> PromptTooLong:
        counted = _PROMPT_TOKENS.search(str(error))
        return PromptTooLong(int(counted[1]) if counted else 0, self.context or 0)

    def _failed(self, error: openai.OpenAIError) -> EndpointFailed:
        refused = error if isinstance(error, openai.APIStatusError) else None
        status = f"HTTP {refused.status_code}: " if refused else ""
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        reason = shown(f"{error}{cause}", self._key, _ERROR_LENGTH)
        return EndpointFailed(
            f"the endpoint {self._url} did not complete a prompt with the model {self.model_id!r}: "
            f"{status}{type(error).__name__}: {reason}\n"
            "Check that the server runs, and that the URL is the one that ends in /v1.",
            reached=not isinstance(error, openai.APIConnectionError),
            status=refused.status_code if refused else None,
            retry_after=_retry_after(refused) if refused else None,
        )


def _finish(reason: str | None) -> Literal["stop", "length"]:
    return "length" if reason == "length" else "stop"


def _retry_after(error: openai.APIStatusError) -> float | None:
    """Seconds until the server wants to be asked again, which it gives as such or as a date."""
    asked = error.response.headers.get("retry-after", "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return None


def how_to_serve(source: ModelSource) -> str:
    """The command that serves a policy's checkpoint; nothing for a base model, whose files are elsewhere."""
    if source.checkpoint is None:
        return ""
    return (
        f". Serve that checkpoint under its name, then continue (docs/gpu.md says how on a CPU): "
        f"vllm serve {source.checkpoint} --served-model-name {source.model}"
    )


def _key(source: ModelSource) -> str:
    if source.api_key_variable is None:
        return "none"  # the client requires a key; a server without keys ignores it
    key = os.environ.get(source.api_key_variable)
    if not key:
        raise EndpointFailed(
            f"the key for the endpoint {source.endpoint} has to be in the environment variable "
            f"{source.api_key_variable}, which is not set"
        )
    return key
