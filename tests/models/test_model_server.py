"""Model servers of our own: started, restarted, and ended with what uses them."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from sand_dagster.models import local_servers, server_programs, vllm_engine
from sand_dagster.models.driver import EngineFailed
from sand_dagster.models.encoded import EncodedEndpoints
from sand_dagster.models.endpoint import EndpointFailed
from sand_dagster.models.engines import Engines
from sand_dagster.models.model_folder import model_id
from sand_dagster.models.server_programs import ServerProgram, ray_application, vllm_servers
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.resources import resources
from sand_dagster.resources.model_server import LOGS, ModelServer, _installed
from sand_dagster.types import Completion, Message, Sampling
from tests.conftest import FakeCards
from tests.processes import gone

SETTINGS = GenerationSettings(max_model_len=256, chat_template="household", endpoint_patience=20.0)
CHATS: list[list[Message]] = [[{"role": "user", "content": f"task {number}"}] for number in range(40)]
STUB = "tests.models.vllm_stub"


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAND_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(server_programs, "MODULE", STUB)


def use(
    folder: Path,
    server: ModelServer | None,
    work: Callable[[Any], Coroutine[Any, Any, Any]],
    checkpoint: str = "",
) -> Any:
    engines = Engines()

    async def script() -> Any:
        source = ModelSource(model=str(folder), checkpoint_id=checkpoint)
        async with engines.open(source, SETTINGS, server) as generator:
            return await work(generator)

    try:
        return engines.run(script())
    finally:
        engines.release_all()


async def all_of(generator: EncodedEndpoints, times: int = 5) -> list[Completion]:
    asked = [generator.complete(chat, Sampling(1.0, 20, seed=n)) for chat in CHATS for n in range(times)]
    return list(await asyncio.gather(*asked))


def logs(home: Path) -> list[Path]:
    return sorted((home / LOGS).glob("*.log"))


def pids(log: Path) -> list[tuple[int, int]]:
    """Each start's server and its engine, by a log."""
    return [
        (int(server), int(engine))
        for server, engine in re.findall(r"^server (\d+) engine (\d+)$", log.read_text(), re.MULTILINE)
    ]


async def with_a_kill(generator: EncodedEndpoints, log: Path) -> list[Completion]:
    """All completions; in their middle the server of `log` is killed. Returns when it is started again."""
    starts = len(pids(log))
    work = asyncio.create_task(all_of(generator))
    while generator.stats().requests < 20:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    os.kill(pids(log)[-1][0], signal.SIGKILL)
    done = await work
    while len(pids(log)) == starts:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return done


def test_two_servers_one_killed_the_same_completions_and_it_is_started_again(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = ModelServer(model_server="local", server_copies=2)
    undisturbed = use(tiny_model, server, all_of)
    assert len({done.text for done in undisturbed}) > 1
    first, second = logs(tmp_path / "home")
    assert all(gone(pid) for log in (first, second) for pid in pids(log)[0]), "both ended with their use"

    async def disturbed(generator: EncodedEndpoints) -> list[Completion]:
        return await with_a_kill(generator, first)

    assert use(tiny_model, server, disturbed) == undisturbed
    assert re.search(r"The model server http://127.0.0.1:\d+/v1 ended, and is started again", caplog.text)
    assert gone(pids(first)[1][1]), "the engine of the killed server ended too"
    assert all(gone(pid) for log in (first, second) for started in pids(log) for pid in started)


def test_the_name_is_the_checkpoints_id_or_the_base_models_hash(tiny_model: Path, tmp_path: Path) -> None:
    server = ModelServer(model_server="local")

    async def name(generator: EncodedEndpoints) -> str:
        return generator.model_id

    assert use(tiny_model, server, name, "7cafe") == "7cafe"
    assert use(tiny_model, server, name) == model_id(tiny_model)[:16]
    assert [log.name for log in logs(tmp_path / "home")] == sorted(
        ["7cafe-0.log", f"{model_id(tiny_model)[:16]}-0.log"]
    )


def test_one_that_ends_twice_fails_the_stage_at_once_with_its_log(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STUB_ENDS_AFTER", "3")
    began = time.monotonic()
    with pytest.raises(
        EndpointFailed, match=r"(?s)model server process \d+ ended with exit status 3.*server"
    ):
        use(tiny_model, ModelServer(model_server="local"), all_of)
    assert time.monotonic() - began < SETTINGS.endpoint_patience, (
        "it does not wait for what will not come back"
    )
    assert caplog.text.count("and is started again") == 1


def test_one_that_does_not_start_is_an_error_with_its_log(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_FAILS", "1")
    with pytest.raises(EngineFailed, match=r"(?s)did not start.*no engine today.*Its whole log: .*-0\.log"):
        use(tiny_model, ModelServer(model_server="local"), all_of)
    assert "no engine today" in logs(tmp_path / "home")[0].read_text()


def test_one_that_is_not_healthy_for_long_is_started_again(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sick = tmp_path / "sick"
    monkeypatch.setenv("STUB_SICK", str(sick))
    monkeypatch.setattr(local_servers, "_HEALTH_EVERY_S", 0.1)
    monkeypatch.setattr(local_servers, "_SILENCE_S", 0.5)

    async def work(generator: EncodedEndpoints) -> Completion:
        before = await generator.complete(CHATS[0], Sampling(0.0, 20))
        sick.touch()
        while "is started again" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        sick.unlink()
        while len(pids(logs(tmp_path / "home")[0])) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert await generator.complete(CHATS[0], Sampling(0.0, 20)) == before
        return before

    use(tiny_model, ModelServer(model_server="local"), work)
    assert "it was not healthy for" in caplog.text


def test_each_group_of_cards_gets_a_server(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_cards: FakeCards
) -> None:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    fake_cards(5)
    monkeypatch.setattr(vllm_engine, "on_cpu", lambda: False)
    settings = SETTINGS.model_copy(update={"tensor_parallel_size": 2})
    programs = vllm_servers(tiny_model, "mine", settings)
    groups = [each.environment["CUDA_VISIBLE_DEVICES"] for each in programs]
    assert groups == ["GPU-0,GPU-1", "GPU-2,GPU-3"]
    command, other = (each.command for each in programs)
    assert command == other
    asked = make_arg_parser(FlexibleArgumentParser()).parse_args(command[3:])
    assert (asked.served_model_name, asked.host) == (["mine"], "127.0.0.1")
    assert (asked.model, asked.max_model_len, asked.dtype) == (str(tiny_model), 256, "bfloat16")
    assert asked.tensor_parallel_size == 2
    assert asked.max_num_batched_tokens >= 8192, "no user waits for a first token"


RAY = {
    "__init__.py": """\
def init(**alone): assert (alone["address"], alone["_node_ip_address"]) == ("local", "127.0.0.1")
""",
    "serve/__init__.py": """\
from tests.models import vllm_stub
def start(http_options):
    global at
    at = http_options
def shutdown(): pass
def run(application, blocking):
    (model,) = application["llm_configs"]
    named, engine = model["model_loading_config"], model["engine_kwargs"]
    print("copies", model["deployment_config"]["num_replicas"], flush=True)
    vllm_stub.serve(named["model_source"], named["model_id"], **at, context=engine["max_model_len"])
""",
    "serve/llm.py": "def build_openai_app(application): return application",
}
"""A stand-in for Ray, which serves one model."""


@pytest.fixture
def ray_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The Python of an environment that has the stand-in for Ray. It runs the script that it is given."""
    for name, text in RAY.items():
        (tmp_path / "ray" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ray" / name).write_text(text)
    code = f"import runpy, sys; sys.path[:0], sys.argv = {[str(tmp_path), *sys.path]}, sys.argv[2:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c {shlex.quote(code)} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr("sand_dagster.resources.model_server._installed", _installed)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return str(python)


def test_an_application_of_ray_is_used_and_started_again_as_our_servers_are(
    tiny_model: Path, tmp_path: Path, ray_python: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = ModelServer(model_server="ray", server_ray_python=ray_python, server_copies=3)

    async def disturbed(generator: EncodedEndpoints) -> list[Completion]:
        (log,) = logs(tmp_path / "home")
        assert "copies 3" in log.read_text()
        return await with_a_kill(generator, log)

    assert use(tiny_model, server, disturbed) == use(tiny_model, ModelServer(model_server="local"), all_of)
    assert "ended, and is started again" in caplog.text
    assert all(gone(pid) for log in logs(tmp_path / "home") for started in pids(log) for pid in started)


def test_an_application_of_ray_with_another_vllm_does_not_start(
    tiny_model: Path, ray_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sand_dagster.resources.model_server._installed", lambda: "0.1.0")
    with pytest.raises(EngineFailed, match=r"would be recorded as made with 0\.1\.0\. Install that"):
        use(tiny_model, ModelServer(model_server="ray", server_ray_python=ray_python), all_of)


def test_an_environment_without_ray_serve_is_told(tiny_model: Path, tmp_path: Path, ray_python: str) -> None:
    (tmp_path / "ray" / "serve" / "llm.py").unlink()
    with pytest.raises(
        EngineFailed, match=r"lacks what Ray Serve's LLM application needs .*Install it there"
    ):
        use(tiny_model, ModelServer(model_server="ray", server_ray_python=ray_python), all_of)


def test_ray_is_started_with_this_python_if_no_other_is_named(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def stop(python: str, *_: object) -> ServerProgram:
        started.append(python)
        raise EngineFailed("enough")

    monkeypatch.setattr("sand_dagster.resources.model_server.ray_application", stop)
    with pytest.raises(EngineFailed, match="enough"):
        use(tiny_model, ModelServer(model_server="ray"), all_of)
    assert started == [sys.executable]


def test_an_application_of_ray_gets_the_arguments_of_our_engines(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, fake_cards: FakeCards
) -> None:
    from vllm.engine.arg_utils import EngineArgs

    fake_cards(5)
    monkeypatch.setattr(vllm_engine, "on_cpu", lambda: False)
    settings = SETTINGS.model_copy(update={"tensor_parallel_size": 2})
    program = ray_application("python", "1.0", tiny_model, "mine", settings)
    assert program.command[program.command.index("--copies") + 1] == "2"
    assert program.command[program.command.index("--on") + 1] == "gpu"
    engine = json.loads(program.command[program.command.index("--engine") + 1])
    assert (engine["tensor_parallel_size"], engine["max_model_len"]) == (2, 256)
    assert engine.keys() <= inspect.signature(EngineArgs).parameters.keys()
    assert program.environment["PYTHONPATH"] == "", "it has packages of its own"


SCRIPT = """\
import asyncio, sys
from pathlib import Path
from sand_dagster.models import server_programs
from sand_dagster.models.local_servers import LocalServers
from tests.models.test_model_server import SETTINGS, STUB
server_programs.MODULE = STUB
async def main():
    programs = server_programs.vllm_servers(Path(sys.argv[1]), "x", SETTINGS)
    serving = await LocalServers.start("x", programs, Path(sys.argv[2]))
    print(serving.urls, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def test_it_ends_with_a_killed_parent(tiny_model: Path, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tiny_model), str(tmp_path / "logs")],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert parent.stdout is not None and b"http://127.0.0.1" in parent.stdout.readline()
    ((server, engine),) = pids(tmp_path / "logs" / "x-0.log")
    parent.kill()
    parent.wait()
    assert gone(server) and gone(engine)


@pytest.fixture
def started(tiny_model: Path) -> Any:
    """Starts stub servers that are not ours; returns the URL."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, context: int = 256, **variables: str) -> str:
        port = local_servers._free_port()
        command = [sys.executable, "-m", STUB, "--model", str(tiny_model), "--served-model-name", name]
        command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(context)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | variables
        processes.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True)
        )
        while not local_servers._is_healthy(f"http://127.0.0.1:{port}/health"):
            time.sleep(0.05)
        return f"http://127.0.0.1:{port}/v1"

    yield start
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(autouse=True)
def same_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sand_dagster.resources.model_server._installed", lambda: "0.32.0+cpu")


def test_servers_of_somebody_else_give_the_same_as_ours(tiny_model: Path, started: Any) -> None:
    base = model_id(tiny_model)[:16]
    urls = f"{started(base)}, {started(base)}"
    theirs = use(tiny_model, ModelServer(model_server="static", base_server_urls=urls), all_of)
    assert theirs == use(tiny_model, ModelServer(model_server="local"), all_of)


def test_an_experiments_endpoint_gets_token_ids_if_it_says_so(tiny_model: Path, started: Any) -> None:
    urls = [started("policy"), started("policy")]

    engines = Engines()

    def of(work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        async def script() -> Any:
            source = ModelSource(model="policy", endpoint=urls[0], also_at=(urls[1],), tokenizer=tiny_model)
            async with engines.open(source, SETTINGS) as generator:
                return await work(generator)

        return engines.run(script())

    async def alike(generator: EncodedEndpoints) -> None:
        for seed in range(3):
            await generator.complete(CHATS[0], Sampling(1.0, 20, seed=seed))

    of(alike)
    assert sorted(map(answered, urls)) == [0, 3], "what begins alike goes to the same one"
    theirs = of(all_of)
    assert min(map(answered, urls)) > 60, "neither is left idle"
    engines.release_all()
    assert theirs == use(tiny_model, ModelServer(model_server="local"), all_of)


def answered(url: str) -> int:
    with urllib.request.urlopen(f"{url}/count", timeout=5) as reply:
        return int(reply.read())


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        (("other",), r"does not serve the model 'mine'; it serves other.*--served-model-name mine"),
        (("mine", 128), r"with a context of 128 tokens, but the experiment's is 256"),
        (("mine", 256, "0.31.2"), r"has vLLM 0.31.2, but rows would be recorded as made with 0.32.0"),
    ],
)
def test_a_server_of_something_else_is_an_error(
    tiny_model: Path, started: Any, served: tuple[Any, ...], reason: str
) -> None:
    variables = {"STUB_VERSION": served[2]} if len(served) > 2 else {}
    url = started(*served[:2], **variables)
    with pytest.raises(EndpointFailed, match=reason):
        use(tiny_model, ModelServer(model_server="static", policy_server_urls=url), all_of, "mine")


def test_static_without_urls_names_the_variable(tiny_model: Path) -> None:
    with pytest.raises(ValueError, match="SAND_POLICY_SERVER_URLS names no server"):
        use(tiny_model, ModelServer(model_server="static", base_server_urls="http://a/v1"), all_of, "mine")


def test_it_is_set_by_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not resources()["generation"].server.used  # type: ignore[attr-defined]
    monkeypatch.setenv("SAND_MODEL_SERVER", "local")
    monkeypatch.setenv("SAND_SERVER_COPIES", "3")
    server = resources()["generation"].server  # type: ignore[attr-defined]
    assert (server.used, server.local, server.server_copies) == (True, True, 3)
    monkeypatch.setenv("SAND_MODEL_SERVER", "remote")
    with pytest.raises(
        ValueError, match=r"SAND_MODEL_SERVER is 'remote': .*'none', 'local', 'ray' or 'static'"
    ):
        resources()
