"""One model behind two URLs, in processes that are killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from sand_dagster.models import endpoints as module
from sand_dagster.models.endpoint import EndpointFailed
from sand_dagster.models.endpoints import Endpoints
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.resources.generation import Generation
from sand_dagster.types import Completion, Message, Sampling
from tests.models.serving import Server
from tests.models.test_endpoint import Server as Scripted
from tests.models.test_endpoint import reply, server  # noqa: F401
from tests.processes import free_port

CHATS: list[list[Message]] = [[{"role": "user", "content": f"task {number}"}] for number in range(40)]


@pytest.fixture
def two() -> Iterator[list[Server]]:
    servers = [Server(free_port(), "policy") for _ in range(2)]
    yield servers
    for each in servers:
        each.kill()


def use(urls: list[str], work: Callable[[Endpoints], Coroutine[Any, Any, Any]], **settings: float) -> Any:
    async def script() -> Any:
        source = ModelSource(model="policy", endpoint=urls[0], also_at=tuple(urls[1:]))
        generator = await Endpoints.start(
            source, GenerationSettings.model_validate({"endpoint_patience": 20.0} | settings)
        )
        try:
            return await work(generator)
        finally:
            await generator.close()

    return asyncio.run(script())


async def all_of(generator: Endpoints, times: int = 5) -> list[Completion]:
    asked = [generator.complete(chat, Sampling(1.0, 20, seed=n)) for chat in CHATS for n in range(times)]
    return list(await asyncio.gather(*asked))


def test_what_begins_alike_goes_to_the_same_one_and_both_work(two: list[Server]) -> None:
    urls = [each.url for each in two]

    async def work(generator: Endpoints) -> None:
        for _ in range(3):
            await generator.complete(CHATS[0], Sampling(0.0, 20))
        assert sorted(each.answered() for each in two) == [0, 3]
        await all_of(generator)
        assert min(each.answered() for each in two) > 60, "neither is left idle"
        assert generator.stats().requests == 203

    use(urls, work)


def test_one_is_killed_in_the_middle_and_nothing_is_lost(
    two: list[Server], caplog: pytest.LogCaptureFixture
) -> None:
    urls = [each.url for each in two]
    undisturbed = use(urls, all_of)

    async def disturbed(generator: Endpoints) -> list[Completion]:
        work = asyncio.create_task(all_of(generator))
        while generator.stats().requests < 20:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        two[0].kill()
        return await work

    assert use(urls, disturbed) == undisturbed
    told = [record.getMessage() for record in caplog.records if record.name == module.__name__]
    assert len(told) == 1, told
    assert f"{urls[0]} gets no requests" in told[0]


def test_one_that_comes_back_takes_part_again(two: list[Server], caplog: pytest.LogCaptureFixture) -> None:
    urls = [each.url for each in two]
    port = int(urls[0].rpartition(":")[2].removesuffix("/v1"))
    two[0].kill()
    fresh: list[Server] = []

    async def work(generator: Endpoints) -> None:
        await all_of(generator, times=1)
        fresh.append(await asyncio.to_thread(Server, port, "policy"))
        for _ in range(60):
            await all_of(generator, times=1)
            if fresh[0].answered():
                return
            await asyncio.sleep(0.1)
        raise AssertionError("it got no more requests")

    try:
        use(urls, work)
        assert f"{urls[0]} answers again" in caplog.text
    finally:
        for each in fresh:
            each.kill()


def test_one_that_comes_back_with_another_model_is_an_error(two: list[Server]) -> None:
    urls = [each.url for each in two]
    port = int(urls[0].rpartition(":")[2].removesuffix("/v1"))
    two[0].kill()
    fresh: list[Server] = []

    async def work(generator: Endpoints) -> None:
        fresh.append(await asyncio.to_thread(Server, port, "another"))
        for _ in range(100):
            await all_of(generator, times=1)
            await asyncio.sleep(0.1)

    try:
        with pytest.raises(EndpointFailed, match=rf"{urls[0]} does not serve the model 'policy'; .*another"):
            use(urls, work)
    finally:
        for each in fresh:
            each.kill()


def test_an_outage_of_all_is_survived_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_TELL_EVERY_S", 0.5)
    port = free_port()
    first = Server(port, "policy")
    later: list[Server] = []

    async def work(generator: Endpoints) -> Completion:
        await generator.complete(CHATS[0], Sampling(0.0, 20))
        first.kill()
        asked = asyncio.create_task(generator.complete(CHATS[0], Sampling(0.0, 20)))
        await asyncio.sleep(2)
        later.append(await asyncio.to_thread(Server, port, "policy"))
        return await asked

    try:
        assert use([first.url], work).text.startswith("Thought")
        assert "no endpoint of the model 'policy' answers" in caplog.text
    finally:
        for each in (first, *later):
            with suppress(ProcessLookupError):
                each.kill()


def test_patience_ends(two: list[Server]) -> None:
    urls = [each.url for each in two]

    async def work(generator: Endpoints) -> None:
        for each in two:
            each.kill()
        await generator.complete(CHATS[0], Sampling(0.0, 20))

    with pytest.raises(EndpointFailed, match=r"no endpoint of the model 'policy' answers|APIConnectionError"):
        use(urls, work, endpoint_patience=1.0, endpoint_retries=0)


def test_where_nobody_serves_a_checkpoint_yet_the_command_that_does_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_TELL_EVERY_S", 0.2)
    url = f"http://127.0.0.1:{free_port()}/v1"
    source = ModelSource(model="id", endpoint=url, checkpoint=Path("/runs/model"))
    with pytest.raises(EndpointFailed):
        asyncio.run(Endpoints.start(source, GenerationSettings(endpoint_patience=1, endpoint_retries=0)))
    assert "vllm serve /runs/model --served-model-name id" in caplog.text


@pytest.mark.parametrize("how", ["seconds", "date"])
def test_a_server_that_says_when_is_asked_then(server: Scripted, how: str) -> None:  # noqa: F811
    when = "1.5" if how == "seconds" else formatdate(time.time() + 3, usegmt=True)  # a date has no fractions
    server.answers = [(429, {"error": {"message": "slow down"}}, {"Retry-After": when}), reply("ok")]
    began = time.monotonic()
    done = use([server.url], lambda generator: generator.complete(CHATS[0], Sampling(0.0, 20)))
    assert done.text == "ok"
    assert time.monotonic() - began >= 1.5


def test_an_outage_of_ten_minutes_is_outlived_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    attempts = module._Attempts(GenerationSettings())
    assert attempts.again_later()
    now += 600 + module._LONGEST_WAIT  # a server that is back is asked so much later at the latest
    assert attempts.again_later()
    assert Generation().endpoint_patience == GenerationSettings().endpoint_patience
    assert module._TELL_EVERY_S == 30
