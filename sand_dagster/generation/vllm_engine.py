"""vLLM in this process: on a CPU or on GPUs, by what is there."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from sand_dagster.generation.chat import ChatEncoder
from sand_dagster.generation.model_folder import ModelUnavailable, context_length, model_id
from sand_dagster.generation.settings import GenerationSettings
from sand_dagster.generation.stats import GenerationStats, Meter
from sand_dagster.sand.interfaces import PromptTooLong
from sand_dagster.sand.types import Completion, Message, Sampling
from sand_dagster.training.templates import prompting_template

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.llm_engine import LLMEngine

T = TypeVar("T")
_GIB = 1024**3
_CPU_PREFILL_TOKENS = 2048
_CPU_BLOCK = 32  # tokens; the unit of prefix caching, vLLM's default of 128 forgets most of a turn
_ENVIRONMENT = {
    # Its set-up of logging takes every handler's lock under logging's own, while the run's log may be taking
    # them the other way round: the two threads then wait for each other for ever.
    "VLLM_CONFIGURE_LOGGING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    # The environments' worker processes need the cores too: vLLM must not pin its threads to them.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


class EngineFailed(RuntimeError):
    """The engine ended or refused to start. Requests in flight are lost; the next `open` starts another."""


class _Driver(Protocol):
    async def generate(self, request_id: str, prompt: list[int], params: SamplingParams) -> RequestOutput: ...

    async def forget(self) -> None: ...

    def close(self) -> None: ...


class VllmGenerator:
    """A `Generator` (sand/interfaces.py) over vLLM, with prefix caching and a seed for every request.

    `context` is the longest prompt and completion together, in tokens. Open one with `engines.open`.
    """

    def __init__(
        self, driver: _Driver, encoder: ChatEncoder, context: int, identity: str, folder: Path
    ) -> None:
        self.model_id = identity
        self.context = context
        self._driver = driver
        self._encoder = encoder
        self._folder = folder
        self._meter = Meter()
        self._numbers = itertools.count()

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
            output = await self._driver.generate(
                str(next(self._numbers)), prompt, sampling_parameters(sampling)
            )
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise EngineFailed(
                f"vLLM failed on the model {self._folder}: {type(error).__name__}: {error}"
            ) from error
        finally:
            self._meter.end()
        sampled = output.outputs[0]
        tokens = len(sampled.token_ids)
        self._meter.count(len(prompt), output.num_cached_tokens or 0, tokens)
        finish: Literal["stop", "length"] = "length" if sampled.finish_reason == "length" else "stop"
        return Completion(sampled.text, len(prompt), tokens, finish)

    def stats(self) -> GenerationStats:
        """Counts since this engine started."""
        return self._meter.stats()

    async def forget(self) -> None:
        """Empty the prefix cache."""
        await self._driver.forget()

    async def close(self) -> None:
        """End the engine and free its memory. Idempotent."""
        self._driver.close()


def on_cpu() -> bool:
    """Whether the vLLM that is installed runs on the CPU here."""
    _prepare()
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


async def start(folder: Path, settings: GenerationSettings) -> VllmGenerator:
    """Start an engine for the model in `folder`. Takes seconds on a CPU, minutes for a large model on a GPU.

    Raises:
        NoChatTemplate: the model has no chat template, and none is set.
        ModelUnavailable: `context` is more than the model has.
        EngineFailed: vLLM could not start.
    """
    _prepare()
    longest = context_length(folder)
    context = settings.context or longest
    if context > longest:
        raise ModelUnavailable(
            f"context is set to {context} tokens, but the model {folder} was made for {longest}; "
            "set a smaller context"
        )
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    encoder = ChatEncoder(tokenizer, prompting_template(tokenizer, settings.chat_template, str(folder)))
    identity = await asyncio.to_thread(model_id, folder)
    try:
        arguments = engine_arguments(folder, context, settings)
        driver = await _InProcess.start(arguments) if on_cpu() else _OwnProcess.start(arguments)
    except Exception as error:
        raise EngineFailed(
            f"vLLM could not start the model {folder} with a context of {context} tokens: "
            f"{type(error).__name__}: {error}"
        ) from error
    return VllmGenerator(driver, encoder, context, identity, folder)


def engine_arguments(folder: Path, context: int, settings: GenerationSettings) -> dict[str, Any]:
    """What vLLM is given for the model in `folder` on this machine; `vllm.LLM` takes the same."""
    shared: dict[str, Any] = {
        "model": str(folder),
        "max_model_len": context,
        "max_num_seqs": settings.max_sequences,
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
            "kv_cache_memory_bytes": int(settings.cpu_cache_gib * _GIB),
            # A seeded request whose prompt is prefilled in chunks kills the CPU engine.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(context, _CPU_PREFILL_TOKENS),
        }
    return shared | {
        "dtype": "bfloat16",
        "gpu_memory_utilization": settings.gpu_memory_share,
        "tensor_parallel_size": settings.tensor_parallel,
    }


async def on_engine_thread(work: Callable[[], T]) -> T:
    """Run `work` where a CPU's engines step: vLLM keeps the state of a forward pass in globals."""
    return await asyncio.get_running_loop().run_in_executor(_InProcess.thread, work)


class _InProcess:
    """vLLM's engine in this process, its steps on one thread that all engines share.

    On a CPU a second engine then starts in a third of the time that a process of its own needs, and gives
    the same tokens as fast. One thread, because vLLM keeps the state of a forward pass in globals.
    """

    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm")

    def __init__(self, engine: LLMEngine) -> None:
        self._engine: LLMEngine | None = engine
        self._waiting: dict[str, asyncio.Future[RequestOutput]] = {}
        self._added: list[tuple[str, list[int], SamplingParams]] = []
        self._dropped: list[str] = []
        self._stepping: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, arguments: dict[str, Any]) -> _InProcess:
        import torch
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        def make() -> LLMEngine:
            os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
            # Half of the cores are the environments': threads that wait for a core spin on all the others.
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 2))
            return LLMEngine.from_engine_args(EngineArgs(**arguments))

        return cls(await on_engine_thread(make))

    async def generate(self, request_id: str, prompt: list[int], params: SamplingParams) -> RequestOutput:
        future: asyncio.Future[RequestOutput] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        self._added.append((request_id, prompt, params))
        if self._stepping is None:
            self._stepping = asyncio.create_task(self._step_until_idle())
        try:
            return await future
        except asyncio.CancelledError:
            self._waiting.pop(request_id, None)
            self._dropped.append(request_id)
            raise

    async def _step_until_idle(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting or self._added:
                added, self._added = self._added, []
                dropped, self._dropped = self._dropped, []
                for output in await loop.run_in_executor(self.thread, self._step, added, dropped):
                    future = self._waiting.pop(output.request_id, None)
                    if future is not None and not future.done():
                        future.set_result(output)
        except Exception as error:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(error)
            self._waiting.clear()
        finally:
            self._stepping = None

    def _step(
        self, added: list[tuple[str, list[int], SamplingParams]], dropped: list[str]
    ) -> list[RequestOutput]:
        from vllm import TokensPrompt

        engine = self._engine
        if engine is None:
            raise EngineFailed("the engine was closed while requests were in flight")
        for request_id, prompt, params in added:
            engine.add_request(request_id, TokensPrompt(prompt_token_ids=prompt), params)
        if dropped:
            engine.abort_request(dropped)
        return engine.step()  # type: ignore[return-value]

    async def forget(self) -> None:
        if (engine := self._engine) is not None:
            await on_engine_thread(engine.reset_prefix_cache)

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is None:
            return
        # Not `engine_core.shutdown()`: that also ends the process groups, which the other engines here share.
        core: Any = engine.engine_core
        core.engine_core.model_executor.shutdown()
        core.engine_core.scheduler.shutdown()
        gc.unfreeze()
        del engine, core
        gc.collect()


class _OwnProcess:
    """vLLM's asynchronous engine in a process of its own, whose end frees a GPU's memory for sure."""

    def __init__(self, engine: AsyncLLM) -> None:
        self._engine: AsyncLLM | None = engine

    @classmethod
    def start(cls, arguments: dict[str, Any]) -> _OwnProcess:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        return cls(AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments)))

    async def generate(self, request_id: str, prompt: list[int], params: SamplingParams) -> RequestOutput:
        from vllm import TokensPrompt

        if self._engine is None:
            raise EngineFailed("the engine was closed while requests were in flight")
        final: RequestOutput | None = None
        async for output in self._engine.generate(TokensPrompt(prompt_token_ids=prompt), params, request_id):
            final = output
        assert final is not None
        return final

    async def forget(self) -> None:
        if self._engine is not None:
            await self._engine.reset_prefix_cache()

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.shutdown()


def sampling_parameters(sampling: Sampling) -> SamplingParams:
    """A request as vLLM wants it: one completion, handed out when it is whole."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed if sampling.temperature > 0 else None,
        stop=list(sampling.stop) or None,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _prepare() -> None:
    """Settings that vLLM and torch read from the environment when they are first imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("vllm").setLevel(logging.ERROR)
