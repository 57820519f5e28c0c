"""vLLM: on a CPU copies of an engine that share the work, on GPUs its asynchronous engine."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sand_dagster.ids import digest
from sand_dagster.interfaces import PromptTooLong
from sand_dagster.models.cards import Card, cards
from sand_dagster.models.chat import ChatEncoder
from sand_dagster.models.driver import Driver, EngineFailed, Sampled
from sand_dagster.models.in_process import parameters, prepare, sampled
from sand_dagster.models.model_folder import ModelUnavailable, chat_encoder, context_length, model_id
from sand_dagster.models.parallel import Parallelism, parallelism
from sand_dagster.models.replicas import Replicas
from sand_dagster.models.settings import GenerationSettings
from sand_dagster.models.shape import ModelShape
from sand_dagster.models.stats import GenerationStats, Meter
from sand_dagster.types import Completion, Message, Sampling

if TYPE_CHECKING:
    from vllm import RequestOutput
    from vllm.v1.engine.async_llm import AsyncLLM

__all__ = ["EngineFailed", "VllmGenerator", "engine_arguments", "on_cpu", "start"]

_GIB = 1024**3
_CPU_PREFILL_TOKENS = 2048
_CPU_BLOCK = 32  # tokens; the unit of prefix caching. vLLM's default of 128 loses most of a turn
_SMALL = 512 * 1024**2  # bytes of weights; up to this size every core gets a copy
_MOST_REPLICAS = 4
_BEGINNING = 128  # tokens; enough to distinguish tasks
_IMBALANCE = 16  # the copy that has a beginning cached may have this many more requests than the least busy
_LOG = logging.getLogger(__name__)


class VllmGenerator:
    """A `Generator` (sand/interfaces.py) over vLLM, with prefix caching and a seed for every request.

    `context` is the longest prompt and completion together, in tokens. Open one with `engines.open`.
    """

    def __init__(
        self, driver: Driver, encoder: ChatEncoder, context: int, identity: str, folder: Path
    ) -> None:
        self.model_id = identity
        self.context = context
        self._driver = driver
        self._encoder = encoder
        self._folder = folder
        self._meter = Meter()

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Sample the assistant's next message.

        Raises:
            PromptTooLong: the prompt and `max_tokens` do not fit the context.
            EngineFailed: the engine died.
        """
        prompt = self._encoder.encode(messages)
        if len(prompt) + sampling.max_tokens > self.context:
            raise PromptTooLong(len(prompt), self.context)
        self._meter.begin()
        try:
            done = await self._driver.generate(prompt, sampling)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise EngineFailed(
                f"vLLM failed on the model {self._folder}: {type(error).__name__}: {error}"
            ) from error
        finally:
            self._meter.end()
        self._meter.count(len(prompt), done.cached, done.tokens)
        return Completion(done.text, len(prompt), done.tokens, done.finish)

    def stats(self) -> GenerationStats:
        """Counts since this engine started."""
        return self._meter.stats()

    async def reset_prefix_cache(self) -> None:
        """Empty the prefix cache."""
        await self._driver.reset_prefix_cache()

    async def close(self) -> None:
        """End the engine and free its memory. Idempotent."""
        self._driver.close()


def on_cpu() -> bool:
    """Whether engines run on the CPU here."""
    import torch

    return not torch.cuda.is_available()


async def start(folder: Path, settings: GenerationSettings) -> VllmGenerator:
    """Start an engine for the model in `folder`. Takes seconds on a CPU, minutes for a large model on a GPU.

    Raises:
        NoChatTemplate: the model has no chat template, and none is set.
        ModelUnavailable: `max_model_len` is more than the model has.
        EngineFailed: vLLM could not start.
    """
    longest = context_length(folder)
    context = settings.max_model_len or longest
    if context > longest:
        raise ModelUnavailable(
            f"max_model_len is set to {context} tokens, but the model {folder} was made for {longest}; "
            "set a smaller value"
        )
    encoder = chat_encoder(folder, settings.chat_template)
    identity = await asyncio.to_thread(model_id, folder)
    try:
        driver = await _driver(folder, context, settings)
    except Exception as error:
        raise EngineFailed(
            f"vLLM could not start the model {folder} with a context of {context} tokens: "
            f"{type(error).__name__}: {error}"
        ) from error
    return VllmGenerator(driver, encoder, context, identity, folder)


async def _driver(folder: Path, context: int, settings: GenerationSettings) -> Driver:
    if not on_cpu():
        return await _on_gpus(folder, context, settings)
    arguments = engine_arguments(folder, context, settings)
    cores = len(os.sched_getaffinity(0))
    if _weight_bytes(folder) > _SMALL:
        # Half of the cores are for the environments: otherwise threads that wait for a core spin on all the
        # others.
        return await Replicas.start(arguments, 1, max(1, cores // 2))
    replicas = min(cores, _MOST_REPLICAS)
    arguments["kv_cache_memory_bytes"] //= replicas
    return await Replicas.start(arguments, replicas, 1)


def spread_over(
    found: Sequence[Card], folder: Path, context: int, settings: GenerationSettings
) -> Parallelism:
    """How copies of the model in `folder` are spread over the cards `found`; it is also logged.

    Raises:
        DoesNotFit: the model does not fit on them.
    """
    shape = ModelShape.read(folder)
    spread = parallelism(
        shape,
        context,
        len(found),
        min(card.memory for card in found),
        settings.gpu_memory_utilization,
        settings.tensor_parallel_size,
    )
    _LOG.warning("vLLM: %s", spread.describe(shape, len(found)))
    return spread


async def _on_gpus(folder: Path, context: int, settings: GenerationSettings) -> Driver:
    spread = spread_over(cards(), folder, context, settings)
    arguments = engine_arguments(folder, context, settings)
    # In a thread: it takes minutes, during which the loop reports progress and notices a request to end.
    return await asyncio.to_thread(_OwnProcess.start, arguments, spread)


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def engine_arguments(folder: Path, context: int, settings: GenerationSettings) -> dict[str, Any]:
    """vLLM's arguments for the model in `folder` on this machine; `vllm.LLM` takes the same."""
    shared: dict[str, Any] = {
        "model": str(folder),
        "max_model_len": context,
        "max_num_seqs": settings.max_num_seqs,
        "enable_prefix_caching": True,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if on_cpu():
        return shared | {
            "dtype": "float32",
            "enforce_eager": True,
            "block_size": _CPU_BLOCK,
            "kv_cache_memory_bytes": int(settings.kv_cache_gib * _GIB),
            # The CPU engine crashes on a seeded request whose prompt is prefilled in chunks.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(context, _CPU_PREFILL_TOKENS),
        }
    return shared | {
        "dtype": "bfloat16",
        "gpu_memory_utilization": settings.gpu_memory_utilization,
    }


class Affinity:
    """Chooses a copy of the model: prompts that start the same go to the same copy, within bounds."""

    def __init__(self, copies: int) -> None:
        self.load = [0] * copies

    def choose(self, prompt: list[int]) -> int:
        """The copy whose cache has the prompt's beginning; the least busy one if that is much busier."""
        at_home = int(digest(prompt[:_BEGINNING])[:8], 16) % len(self.load)
        least_busy = min(range(len(self.load)), key=self.load.__getitem__)
        return at_home if self.load[at_home] <= self.load[least_busy] + _IMBALANCE else least_busy


class _OwnProcess:
    """vLLM's asynchronous engine in separate processes, so that their end always frees the GPUs' memory."""

    def __init__(self, engine: AsyncLLM, copies: int) -> None:
        self._engine: AsyncLLM | None = engine
        self._numbers = itertools.count()
        self._affinity = Affinity(copies)

    @classmethod
    def start(cls, arguments: dict[str, Any], spread: Parallelism) -> _OwnProcess:
        prepare()
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        copies = spread.data_parallel_size
        engine = AsyncEngineArgs(
            **arguments, tensor_parallel_size=spread.tensor_parallel_size, data_parallel_size=copies
        )
        # As in vLLM's offline class: no user waits for a first token, so a prefill may have 8,192 tokens or
        # more.
        return cls(AsyncLLM.from_engine_args(engine, usage_context=UsageContext.LLM_CLASS), copies)

    async def generate(self, prompt: list[int], sampling: Sampling) -> Sampled:
        from vllm import TokensPrompt

        if self._engine is None:
            raise EngineFailed("the engine was closed while requests were in flight")
        final: RequestOutput | None = None
        chosen = self._affinity.choose(prompt)
        self._affinity.load[chosen] += 1
        try:
            async for output in self._engine.generate(
                TokensPrompt(prompt_token_ids=prompt),
                parameters(sampling),
                str(next(self._numbers)),
                data_parallel_rank=chosen if len(self._affinity.load) > 1 else None,
            ):
                final = output
        finally:
            self._affinity.load[chosen] -= 1
        assert final is not None
        return sampled(final)

    async def reset_prefix_cache(self) -> None:
        if self._engine is not None:
            await self._engine.reset_prefix_cache()

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.shutdown()
