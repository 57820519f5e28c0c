"""Real vLLM on the CPU, with a tiny Llama."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from vllm.v1.engine.async_llm import AsyncLLM

from sand_dagster.interfaces import PromptTooLong
from sand_dagster.models.engines import Engines
from sand_dagster.models.engines import engines as shared
from sand_dagster.models.in_process import parameters
from sand_dagster.models.model_folder import ModelUnavailable, model_id
from sand_dagster.models.neutral import NEUTRAL
from sand_dagster.models.on_demand import open_on_demand
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.models.templates import NoChatTemplate, published
from sand_dagster.models.vllm_engine import EngineFailed, VllmGenerator, _OwnProcess
from sand_dagster.prompts.figures import deliberation_pattern, deliberation_prompt
from sand_dagster.types import Completion, Sampling
from tests.training.tiny_model import tiny_chat, write_tiny_model
from toy_alfworld.model import weights

SETTINGS = GenerationSettings(max_model_len=512, max_num_seqs=32, kv_cache_gib=0.25)
CHATS = [tiny_chat(number, turns=1 + number % 5) for number in range(40)]


async def sample(
    engines: Engines, folder: Path, temperature: float, max_concurrency: int
) -> list[Completion]:
    slots = asyncio.Semaphore(max_concurrency)
    async with engines.open(ModelSource(model=str(folder)), SETTINGS) as generator:

        async def one(number: int) -> Completion:
            async with slots:
                return await generator.complete(CHATS[number], Sampling(temperature, 24, seed=number))

        return list(await asyncio.gather(*map(one, range(len(CHATS)))))


def test_a_copy_on_gpus_is_asked_by_its_rank() -> None:
    """Stands in for vLLM's engine, which has no copies on a CPU."""
    ranks: list[tuple[int, int | None]] = []

    class Engine:
        async def generate(
            self, prompt: dict[str, list[int]], _: object, number: str, data_parallel_rank: int | None
        ) -> AsyncIterator[object]:
            ranks.append((prompt["prompt_token_ids"][0], data_parallel_rank))
            text = SimpleNamespace(text="", token_ids=[], finish_reason="stop")
            yield SimpleNamespace(outputs=[text], num_cached_tokens=0)

    async def ask(copies: int) -> None:
        driver = _OwnProcess(cast("AsyncLLM", Engine()), copies)
        for step in range(3):
            for task in range(20):
                await driver.generate([task] * 200 + [step], Sampling(0.0, 5))

    assert "data_parallel_rank" in inspect.signature(AsyncLLM.generate).parameters
    asyncio.run(ask(4))
    assert {rank for _, rank in ranks} == {0, 1, 2, 3}
    assert len(set(ranks)) == 20, "what begins alike is asked of one copy"
    ranks.clear()
    asyncio.run(ask(1))
    assert {rank for _, rank in ranks} == {None}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_same_completions_however_many_are_in_flight(
    engines: Engines, tiny_model: Path, temperature: float
) -> None:
    many = engines.run(sample(engines, tiny_model, temperature, max_concurrency=40))
    few = engines.run(sample(engines, tiny_model, temperature, max_concurrency=5))
    assert many == few
    assert len({completion.text for completion in many}) > 30


def test_a_models_own_sampling_defaults_do_not_change_what_is_sampled(
    engines: Engines, tiny_model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "opinionated")
    config = json.loads((folder / "generation_config.json").read_text())
    cut = {"temperature": 0.1, "top_k": 1, "top_p": 0.1, "min_p": 0.5, "repetition_penalty": 1.9}
    (folder / "generation_config.json").write_text(json.dumps(config | cut | {"do_sample": True}))
    for temperature in (0.0, 1.0):
        plain, opinionated = (
            engines.run(sample(engines, model, temperature, max_concurrency=40))
            for model in (tiny_model, folder)
        )
        assert plain == opinionated


def test_every_request_says_that_nothing_is_cut_off_or_penalised() -> None:
    asked = parameters(Sampling(1.0, 8, seed=1))
    assert NEUTRAL.keys() == {
        *("top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")
    }
    assert [asked.top_p, asked.min_p, asked.repetition_penalty] == [1.0, 0.0, 1.0]
    assert asked.top_k in (0, -1), "both are no limit"
    assert (asked.presence_penalty, asked.frequency_penalty) == (0.0, 0.0)


def test_temperature_zero_is_the_models_own_best_token(engines: Engines, tiny_model: Path) -> None:
    sampled = engines.run(sample(engines, tiny_model, 0.0, max_concurrency=40))
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_model),
        AutoModelForCausalLM.from_pretrained(tiny_model),
    )
    for chat, completion in zip(CHATS[:6], sampled, strict=False):
        prompt = tokenizer.apply_chat_template(
            chat,
            chat_template=published("household"),
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        )["input_ids"]
        with torch.no_grad():
            whole = model.generate(prompt, do_sample=False, max_new_tokens=24)[0, prompt.shape[1] :]
        assert completion.prompt_tokens == prompt.shape[1]
        # If the text is cut inside a character's bytes, vLLM leaves the character out.
        expected = tokenizer.decode(whole, skip_special_tokens=True).rstrip("\N{REPLACEMENT CHARACTER}")
        assert completion.text.rstrip("\N{REPLACEMENT CHARACTER}") == expected


def test_seeds_limits_stops_and_counts(engines: Engines, tiny_model: Path) -> None:
    async def script() -> None:
        async with engines.open(ModelSource(model=str(tiny_model)), SETTINGS) as generator:
            before = generator.stats()
            first, again, other = await asyncio.gather(
                *(generator.complete(CHATS[0], Sampling(1.0, 16, seed=seed)) for seed in (1, 1, 2))
            )
            assert first == again != other
            assert (first.finish, first.completion_tokens) == ("length", 16)
            stop = first.text[4:6]
            cut = await generator.complete(CHATS[0], Sampling(1.0, 16, seed=1, stop=(stop,)))
            assert cut.finish == "stop"
            assert cut.text == first.text[: first.text.index(stop)]
            done = generator.stats().since(before)
            assert (done.requests, done.prompt_tokens) == (4, 4 * first.prompt_tokens)
            assert done.completion_tokens == 3 * 16 + cut.completion_tokens
            assert done.busy_seconds > 0
            assert done.completion_tokens_per_second > 0

    engines.run(script())


def test_a_growing_chat_is_taken_from_the_prefix_cache(engines: Engines, tiny_model: Path) -> None:
    async def script() -> None:
        async with engines.open(ModelSource(model=str(tiny_model)), SETTINGS) as generator:
            chat = tiny_chat(99, turns=6)
            first = await generator.complete(chat[:-2], Sampling(0.0, 4))
            before = generator.stats()
            await generator.complete(chat, Sampling(0.0, 4))
            assert generator.stats().since(before).cached_prompt_tokens >= first.prompt_tokens - 32

    engines.run(script())


def test_what_does_not_fit_the_context_is_refused_with_both_figures(
    engines: Engines, tiny_model: Path
) -> None:
    async def script() -> None:
        async with engines.open(ModelSource(model=str(tiny_model)), SETTINGS) as generator:
            fits = await generator.complete(CHATS[0], Sampling(0.0, 1))
            room = 512 - fits.prompt_tokens
            await generator.complete(CHATS[0], Sampling(0.0, room))
            with pytest.raises(PromptTooLong) as refused:
                await generator.complete(CHATS[0], Sampling(0.0, room + 1))
            assert (refused.value.prompt_tokens, refused.value.context) == (fits.prompt_tokens, 512)

    engines.run(script())


def test_a_cancelled_request_leaves_the_others_alone(engines: Engines, tiny_model: Path) -> None:
    async def script() -> tuple[Completion, Completion]:
        async with engines.open(ModelSource(model=str(tiny_model)), SETTINGS) as generator:
            alone = await generator.complete(CHATS[1], Sampling(1.0, 40, seed=5))
            doomed = asyncio.create_task(generator.complete(CHATS[2], Sampling(1.0, 400, seed=5)))
            kept = asyncio.create_task(generator.complete(CHATS[1], Sampling(1.0, 40, seed=5)))
            await asyncio.sleep(0.05)
            doomed.cancel()
            with pytest.raises(asyncio.CancelledError):
                await doomed
            return alone, await kept

    alone, kept = engines.run(script())
    assert alone == kept


@pytest.mark.slow
def test_engines_are_shared_until_room_is_needed_or_the_weights_change(tmp_path: Path) -> None:
    engines = Engines(keep=2)
    first, second, third = (write_tiny_model(tmp_path / str(seed), seed) for seed in (1, 2, 3))

    async def opened(folder: Path) -> tuple[object, Completion]:
        async with engines.open(ModelSource(model=str(folder)), SETTINGS) as generator:
            return generator, await generator.complete(CHATS[0], Sampling(0.0, 16))

    try:
        engine, said = engines.run(opened(first))
        assert isinstance(engine, VllmGenerator)
        assert engine.model_id == model_id(first)
        ended, said_by_second = engines.run(opened(second))
        assert said_by_second != said
        assert engines.run(opened(first)) == (engine, said), "kept between runs of the loop"
        engines.run(opened(third))
        assert engines.run(opened(first)) == (engine, said), "it stays alive when another engine ends"
        assert isinstance(ended, VllmGenerator)
        with pytest.raises(EngineFailed, match="closed"):
            engines.run(ended.complete(CHATS[0], Sampling(0.0, 16)))
        shutil.copy(second / "model.safetensors", first)
        assert engines.run(opened(first))[1] == said_by_second, "an engine of the old weights was used"
    finally:
        engines.release_all()


def test_a_model_that_cannot_be_prompted_is_named(engines: Engines, tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "odd")
    config = folder / "tokenizer_config.json"
    config.write_text(config.read_text().replace("<|end|>", "<|user|>"))
    (folder / "chat_template.jinja").unlink(missing_ok=True)

    async def opened(context: int) -> None:
        async with engines.open(ModelSource(model=str(folder)), GenerationSettings(max_model_len=context)):
            pass

    with pytest.raises(
        NoChatTemplate, match=rf"{folder} has no chat template.*Set `finetuning.chat_template`"
    ):
        engines.run(opened(512))
    with pytest.raises(ModelUnavailable, match=rf"1024 tokens, but the model {folder} was made for 512"):
        engines.run(opened(1024))


def test_an_engine_on_demand_starts_with_the_first_completion(tiny_model: Path) -> None:
    async def use(folder: Path, ask: bool) -> tuple[str, int]:
        async with open_on_demand(ModelSource(model=str(folder)), SETTINGS) as generator:
            if ask:
                await generator.complete(CHATS[0], Sampling(0.0, 4))
            return generator.model_id, len(shared._entries)

    shared.release_all()  # other tests of this process leave engines for the next to use
    assert shared.run(use(tiny_model, ask=False)) == (model_id(tiny_model), 0)
    assert shared.run(use(tiny_model, ask=True)) == (model_id(tiny_model), 1)
    shared.release_all()
    with pytest.raises(ModelUnavailable):
        shared.run(use(tiny_model / "absent", ask=False))


def test_a_pattern_holds_the_text(engines: Engines) -> None:
    actions = ["go to shelf 1", "put egg 1 in/on diningtable 2", "Take (all) 3"]
    prompt = deliberation_prompt("a kitchen", "none", [(action, "") for action in actions], actions[0])
    pattern = deliberation_pattern(actions)

    async def script() -> Completion:
        source = ModelSource(model=str(weights()))
        async with engines.open(
            source, GenerationSettings(max_model_len=2048, kv_cache_gib=0.25)
        ) as generator:
            return await generator.complete(
                [{"role": "user", "content": prompt}], Sampling(0.0, 256, pattern=pattern)
            )

    said = engines.run(script())
    assert said.finish == "stop"
    assert re.fullmatch(pattern, said.text), said.text
