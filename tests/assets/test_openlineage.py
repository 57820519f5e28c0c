"""Materialisations as OpenLineage events: to a file, a server, a dead one, and one that never answers."""

from __future__ import annotations

import atexit
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sand_dagster.assets import openlineage, openlineage_sender
from sand_dagster.assets.openlineage_sender import sender
from tests.assets.pipeline import NAME, Finetuning, Pipeline, Scripted, finished

KEY = "sk-openlineage-0123456789"
SETUP = ("tasks", "expert_import", "expert_data", "base_model")
ONE = ("tasks",)


@pytest.fixture(autouse=True)
def _its_own_client() -> Iterator[None]:
    """The client writes into the environment, and there is one a process."""
    before = dict(os.environ)
    sender.cache_clear()
    openlineage._installed.cache_clear()
    yield
    if sender.cache_info().currsize:
        atexit.unregister(sender().close)
    sender.cache_clear()
    openlineage._installed.cache_clear()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """A small experiment of which nothing is made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Pipeline(tmp_path / "home", instance)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pipeline, Path]]:
    """Iterations 00 and 01 of a small experiment, and the file with the events of their making."""
    folder, before = tmp_path_factory.mktemp("made"), dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        _to_file(patch, folder / "events.jsonl")
        with finished(folder) as pipeline:
            sender().close()
            atexit.unregister(sender().close)
            os.environ.clear()
            os.environ.update(before)
            yield pipeline, folder / "events.jsonl"


@pytest.fixture
def made(first: tuple[Pipeline, Path]) -> Pipeline:
    """Iterations 00 and 01, which tests make again."""
    return first[0]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: object) -> Path:
    """Where the client's own file transport writes."""
    return _to_file(monkeypatch, tmp_path / "events.jsonl")


def _to_file(patch: pytest.MonkeyPatch, path: Path) -> Path:
    patch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    patch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(path))
    patch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")
    return path


def _sent(file: Path) -> list[dict[str, Any]]:
    sender().close()
    return _read(file)


def _read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _states(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["job"]["name"], event["eventType"]) for event in events]


def _reached(events: list[dict[str, Any]], dataset: str) -> set[str]:
    """All datasets that a dataset goes into, as a drawing of jobs and datasets by name shows them."""
    found: set[str] = set()
    waiting = {dataset}
    while waiting:
        name = waiting.pop()
        for event in events:
            if name in {each["name"] for each in event["inputs"]}:
                waiting |= {each["name"] for each in event["outputs"]} - found
                found |= {each["name"] for each in event["outputs"]}
    return found


def test_every_materialisation_is_a_run_with_what_it_read_and_made(first: tuple[Pipeline, Path]) -> None:
    made_by, events = first[0], _read(first[1])
    started, completed = events[::2], events[1::2]
    assert len(completed) == 22
    for before, after in zip(started, completed, strict=True):
        assert (before["eventType"], after["eventType"]) == ("START", "COMPLETE")
        assert before["run"]["runId"] == after["run"]["runId"]
        assert before["job"]["name"] == after["job"]["name"]
        assert before["job"]["namespace"] == "sand"
    assert len({event["run"]["runId"] for event in completed}) == 22

    at = {(event["job"]["name"], _tags(event).get("iteration")): event for event in completed}
    critiques = at["small.critiques", "01"]
    manifest = made_by.store.require("critiques", "01")
    (made,) = critiques["outputs"]
    assert made["name"] == "small.critiques"
    assert made["facets"]["version"]["datasetVersion"] == manifest.content_hash
    assert made["facets"]["dataSource"]["uri"].endswith("/home/small")
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == manifest.rows
    (partition,) = made["outputFacets"]["subset"]["outputCondition"]["partitions"]
    assert partition["dimensions"] == {"iteration": "01"}
    fields = {field["name"]: field for field in made["facets"]["schema"]["fields"]}
    assert fields["critique"]["type"] == "String" and fields["critique"]["description"]
    parents = made["facets"]["columnLineage"]["fields"]["rollout_id"]["inputFields"]
    assert [(each["name"], each["field"]) for each in parents] == [("small.rollouts", "rollout_id")]
    read = {each["name"]: each for each in critiques["inputs"]}
    assert read["small.rollouts"]["facets"]["version"]["datasetVersion"] == manifest.inputs["rollouts"]

    run = made_by.instance.get_run_by_id(manifest.run_id)
    assert run is not None
    facets = critiques["run"]["facets"]
    assert facets["parent"]["run"]["runId"] == manifest.run_id
    assert facets["parent"]["job"]["name"] == NAME
    assert facets["nominalTime"]["nominalStartTime"] <= critiques["eventTime"]
    assert _tags(critiques)["identity"] == manifest.identity.key
    assert "critique" in critiques["job"]["facets"]["documentation"]["description"]


def test_a_drawing_by_names_is_the_loop(first: tuple[Pipeline, Path]) -> None:
    last = {event["job"]["name"]: event for event in _read(first[1])}
    drawn = list(last.values())  # of each job the latest run, as Marquez draws it
    assert "small.checkpoints" in _reached(drawn, "small.checkpoints")
    assert "small.eval_scores" in _reached(drawn, "small.tasks")
    policy = last["small.policy"]
    (back,) = (each for each in policy["inputs"] if each["name"] == "small.checkpoints")
    (partition,) = back["inputFacets"]["subset"]["inputCondition"]["partitions"]
    assert partition["identifier"] == "iteration=00"
    assert (
        back["facets"]["version"]["datasetVersion"]
        == first[0].store.require("checkpoints", "00").content_hash
    )


def _tags(event: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in event["run"]["facets"]["tags"]["tags"]}


def _error(event: dict[str, Any]) -> str:
    message: str = event["run"]["facets"]["errorMessage"]["message"]
    return message


class _Breaks(Scripted):
    """Models that cannot be had."""

    error: str

    @asynccontextmanager
    async def model(self, *_: Any) -> Any:
        raise RuntimeError(self.error)
        yield


def test_a_stage_that_fails_says_why_and_no_key(
    made: Pipeline, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = "generation: {base: {url: http://127.0.0.1:9/v1, model: m, key_variable: MY_KEY}}\n"
    made.configure(served)
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("OPENLINEAGE__FACETS__ENVIRONMENT_VARIABLES", '["MY_KEY"]')
    with pytest.raises(Exception, match="out for lunch"):
        made.materialise(
            "critiques", iteration="01", generation=_Breaks(error=f"{KEY} is out for lunch"), fresh=True
        )
    made.configure("")
    failed = _sent(file)[-1]
    assert _states([failed]) == [("small.critiques", "FAIL")]
    assert _error(failed) == "RuntimeError: [API key] is out for lunch"
    assert "version" not in failed["outputs"][0]["facets"]
    assert KEY not in file.read_text()


def test_a_cancelled_stage_is_aborted(made: Pipeline, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Finetuning, "finetune", interrupted)
    with pytest.raises((KeyboardInterrupt, dg.DagsterExecutionInterruptedError)):
        made.materialise("checkpoints", iteration="01", fresh=True)
    events = _sent(file)
    assert _states(events) == [("small.checkpoints", "START"), ("small.checkpoints", "ABORT")]
    assert _error(events[-1]).startswith("Cancelled, as was asked")
    made.materialise("policy", iteration="01")
    assert not hasattr(sys, "tracebacklimit"), "the next stage's errors have their traces again"


def test_a_stage_that_cannot_begin_has_failed(new: Pipeline, file: Path) -> None:
    with pytest.raises(dg.Failure):
        new.materialise("expert_data")
    events = _sent(file)
    assert _states(events) == [("small.expert_data", "START"), ("small.expert_data", "FAIL")]
    assert "is not there" in _error(events[-1])


def test_a_trial_materialises_nothing_and_is_not_reported(made: Pipeline, file: Path) -> None:
    made.materialise("critiques", iteration="01", limit=1)
    made.materialise("expert_trajectories", iteration="01")
    assert {name for name, _ in _states(_sent(file))} == {"small.expert_trajectories"}


class _Marquez(BaseHTTPRequestHandler):
    """Takes events, as Marquez does."""

    taken: list[tuple[str, str | None, dict[str, Any]]]
    status = 201

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append((self.path, self.headers["Authorization"], json.loads(body)))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Marquez]]:
    handler = type("Handler", (_Marquez,), {"taken": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.server_port}")
        yield handler
        server.shutdown()


def test_a_server_is_sent_the_events_and_the_key_is_in_none(
    new: Pipeline, server: type[_Marquez], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", KEY)
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "ours")
    new.materialise()
    sender().close()
    assert {(path, key) for path, key, _ in server.taken} == {("/api/v1/lineage", f"Bearer {KEY}")}
    events = [event for *_, event in server.taken]
    assert [state for _, state in _states(events)] == ["START", "COMPLETE"] * 4
    assert {event["job"]["namespace"] for event in events} == {"ours"}
    assert KEY not in json.dumps(events)


def _ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What this process's log says, without what a run's log says again."""
    return [
        each.getMessage()
        for each in caplog.records
        if each.levelno >= logging.WARNING
        and each.name.startswith(("sand_dagster", "openlineage", "urllib3"))
    ]


def test_a_server_that_refuses_costs_a_warning_without_its_answer_or_the_key(
    new: Pipeline, server: type[_Marquez], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.status = 401
    url = os.environ["OPENLINEAGE_URL"]
    monkeypatch.setenv("OPENLINEAGE_URL", url.replace("//", f"//me:{KEY}@"))
    new.materialise()
    sender().close()
    (said,) = _ours(caplog)
    assert "the transport `http` failed (HTTPError, status 401)" in said
    assert KEY not in caplog.text


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def test_a_dead_server_costs_one_warning_and_changes_nothing(
    made: Pipeline, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{_free_port()}")
    made.materialise("expert_trajectories", iteration="01")
    before = time.monotonic()
    while not sender()._failing and time.monotonic() - before < 60:
        time.sleep(0.1)
    sender().close()
    made.materialise("expert_trajectories", iteration="01")
    (said,) = _ours(caplog)
    assert "OpenLineage events are lost: the transport `http` failed (ConnectionError)" in said


def test_a_server_that_never_answers_holds_up_no_stage(
    made: Pipeline, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds() -> float:
        before = time.monotonic()
        made.materialise(iteration="01")
        return time.monotonic() - before

    seconds()
    usual = seconds()
    monkeypatch.setattr(openlineage_sender, "_AT_EXIT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        # Nine stages of two events each: with a wait for each it would be a minute and a half.
        assert seconds() < usual + 10
        before = time.monotonic()
        sender().close()
        assert time.monotonic() - before < 5
    (said,) = _ours(caplog)
    assert "some were not sent within 0.5 s of the end" in said


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("OPENLINEAGE_CONFIG", "/nowhere/openlineage.yml", "/nowhere/openlineage.yml, which cannot be read"),
        ("OPENLINEAGE_URL", f"//me:{KEY}@nowhere", "Need valid url"),
        ("OPENLINEAGE__TRANSPORT__TYPE", "http", "`url` key not passed"),
        ("OPENLINEAGE__TRANSPORT__URL", "http://127.0.0.1:9", "name no transport"),
    ],
)
def test_settings_that_do_not_work_cost_one_warning(
    new: Pipeline,
    name: str,
    value: str,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(name, value)
    new.materialise(*ONE)
    new.materialise(*ONE)
    (said,) = _ours(caplog)
    assert problem in said and KEY not in caplog.text


def test_a_client_that_is_not_installed_is_named_once(
    new: Pipeline, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(openlineage, "find_spec", lambda name: None)
    new.materialise()
    (said,) = _ours(caplog)
    assert "pip install 'sand-dagster[openlineage]'" in said
    assert not file.exists()


def test_it_can_be_switched_off(new: Pipeline, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    new.materialise(*ONE)
    assert not file.exists()


PROGRAM = """\
import json, os, sys
from pathlib import Path
import dagster as dg
from tests.assets.pipeline import Pipeline
with dg.DagsterInstance.ephemeral() as instance:
    pipeline = Pipeline(Path(sys.argv[1]), instance)
    pipeline.materialise("tasks")
    print("openlineage" in sys.modules)
    os.environ.update(json.loads(sys.argv[2]))
    pipeline.materialise()
"""


def test_a_process_imports_the_client_where_it_is_configured_and_sends_all_before_it_ends(
    tmp_path: Path, file: Path
) -> None:
    theirs = {name: value for name, value in os.environ.items() if name.startswith("OPENLINEAGE")}
    others = {name: value for name, value in os.environ.items() if name not in theirs}
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "home"), json.dumps(theirs)],
        env={**others, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert ended.stdout == "False\n"
    assert _states(_read(file)) == [(f"small.{stage}", s) for stage in SETUP for s in ("START", "COMPLETE")]
