"""A model on servers that get token ids: prompts are made here, as for an engine of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

from sand_dagster.interfaces import PromptTooLong
from sand_dagster.models.chat import ChatEncoder
from sand_dagster.models.endpoints import Endpoints
from sand_dagster.models.model_folder import chat_encoder, context_length
from sand_dagster.models.serving import Serving
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.models.stats import GenerationStats
from sand_dagster.types import Completion, Message, Sampling


class EncodedEndpoints:
    """A `Generator` (sand/interfaces.py) over `Endpoints`, with the tokenizer in the model's folder.

    So the prompts are the same tokens on every server, whatever its own chat template is.
    """

    def __init__(self, endpoints: Endpoints, encoder: ChatEncoder, context: int, serving: Serving) -> None:
        self.model_id = endpoints.model_id
        self.context = context
        self._endpoints, self._encoder, self._serving = endpoints, encoder, serving
        self._watching = asyncio.create_task(self._give_up())

    @classmethod
    async def start(cls, source: ModelSource, settings: GenerationSettings, serving: Serving) -> Self:
        """Connect to the servers of `serving`, which is closed with this.

        Raises:
            NoChatTemplate: the model has no chat template, and none is set.
            EndpointFailed: no server answers, or one serves another model, or a shorter context.
        """
        folder = source.tokenizer
        assert folder is not None
        try:
            encoder = await asyncio.to_thread(chat_encoder, folder, settings.chat_template)
            context = settings.max_model_len or context_length(folder)
            endpoints = await Endpoints.start(source, settings.model_copy(update={"max_model_len": context}))
        except BaseException:
            await serving.close()
            raise
        return cls(endpoints, encoder, context, serving)

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Sample the assistant's next message.

        Raises:
            PromptTooLong: the prompt and `max_tokens` do not fit the context.
            EndpointFailed: refused; or no server answered, after all retries and the whole waiting time.
        """
        prompt = self._encoder.encode(messages)
        if len(prompt) + sampling.max_tokens > self.context:
            raise PromptTooLong(len(prompt), self.context)
        done = await self._endpoints.sample(prompt, sampling)
        return Completion(done.text, len(prompt), done.tokens, done.finish)

    async def _give_up(self) -> None:
        self._endpoints.give_up(await self._serving.lost())

    def stats(self) -> GenerationStats:
        """Counts since this generator was opened, over all servers."""
        return self._endpoints.stats()

    async def close(self) -> None:
        """Close the connections, and end the servers that were started for this. Idempotent."""
        self._watching.cancel()
        await self._endpoints.close()
        await self._serving.close()
