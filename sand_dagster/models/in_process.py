"""vLLM's engine in this process, its steps on one thread that all engines share."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

from sand_dagster.models.driver import EngineFailed, Sampled
from sand_dagster.models.neutral import NEUTRAL
from sand_dagster.types import Sampling

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams
    from vllm.v1.engine.llm_engine import LLMEngine

_ENVIRONMENT = {
    # vLLM's set-up of logging takes every handler's lock while it holds logging's own. A run's log may take
    # them in # the other order: then the two threads wait for each other forever.
    "VLLM_CONFIGURE_LOGGING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    # Other engines and the environments' workers need the cores too: vLLM must not pin its threads to them.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm")
"""vLLM keeps the state of a forward pass in globals."""


def prepare() -> None:
    """Set what vLLM and torch read from the environment when they are first imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("vllm").setLevel(logging.ERROR)


class InProcessEngine:
    """See `Driver`. A second engine in the same process starts in a tenth of the time of the first."""

    def __init__(self, engine: LLMEngine) -> None:
        self._engine: LLMEngine | None = engine
        self._numbers = itertools.count()
        self._waiting: dict[str, asyncio.Future[RequestOutput]] = {}
        self._added: list[tuple[str, list[int], SamplingParams]] = []
        self._dropped: list[str] = []
        self._stepping: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, arguments: dict[str, Any], threads: int) -> InProcessEngine:
        """An engine with vLLM's `arguments`, whose matrix products use `threads` threads."""
        prepare()
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"

        def make() -> LLMEngine:
            # Imported here: it takes half a minute, during which the loop has to notice a request to end.
            import torch
            from vllm.engine.arg_utils import EngineArgs
            from vllm.v1.engine.llm_engine import LLMEngine

            torch.set_num_threads(threads)
            return LLMEngine.from_engine_args(EngineArgs(**arguments))

        return cls(await asyncio.get_running_loop().run_in_executor(_THREAD, make))

    async def generate(self, prompt: list[int], sampling: Sampling) -> Sampled:
        future: asyncio.Future[RequestOutput] = asyncio.get_running_loop().create_future()
        request_id = str(next(self._numbers))
        self._waiting[request_id] = future
        self._added.append((request_id, prompt, parameters(sampling)))
        if self._stepping is None:
            self._stepping = asyncio.create_task(self._step_until_idle())
        try:
            return sampled(await future)
        except asyncio.CancelledError:
            self._waiting.pop(request_id, None)
            self._dropped.append(request_id)
            raise

    async def reset_prefix_cache(self) -> None:
        if (engine := self._engine) is not None:
            await asyncio.get_running_loop().run_in_executor(_THREAD, engine.reset_prefix_cache)

    async def _step_until_idle(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting or self._added:
                added, self._added = self._added, []
                dropped, self._dropped = self._dropped, []
                for output in await loop.run_in_executor(_THREAD, self._step, added, dropped):
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

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is None:
            return
        # Not `engine_core.shutdown()`: it also ends the process groups, which the other engines here share.
        core: Any = engine.engine_core
        core.engine_core.model_executor.shutdown()
        core.engine_core.scheduler.shutdown()
        gc.unfreeze()
        del engine, core
        gc.collect()


def parameters(sampling: Sampling) -> SamplingParams:
    """A request for vLLM: one completion, returned when it is complete."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    return SamplingParams(
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed if sampling.temperature > 0 else None,
        stop=list(sampling.stop) or None,
        structured_outputs=StructuredOutputsParams(regex=sampling.pattern) if sampling.pattern else None,
        output_kind=RequestOutputKind.FINAL_ONLY,
        **NEUTRAL,
    )


def sampled(output: RequestOutput) -> Sampled:
    """The completion of a request that ended."""
    first = output.outputs[0]
    finish: Literal["stop", "length"] = "length" if first.finish_reason == "length" else "stop"
    return Sampled(first.text, len(first.token_ids), output.num_cached_tokens or 0, finish)
