"""`sand view`: on loopback, only the report's files, and what has changed since."""

from __future__ import annotations

import csv
import http.client
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.cli import app
from sand_dagster.reports import viewing
from sand_dagster.reports.viewing import Live, server
from tests.assets.pipeline import NAME, Pipeline


@pytest.fixture
def home(pipeline: Pipeline, tmp_path: Path) -> Path:
    """A copy, in which a test can change something."""
    for name in (NAME, "experiments", "base"):
        shutil.copytree(pipeline.home / name, tmp_path / "home" / name)
    return tmp_path / "home"


@pytest.fixture
def port(home: Path, tmp_path: Path) -> Iterator[int]:
    (tmp_path / "secret.md").write_text("not of the report")
    serving = server(Live([NAME], tmp_path / "report", home), 0)
    assert serving.server_address[0] == "127.0.0.1"
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield serving.server_port
    serving.shutdown()
    thread.join()
    serving.server_close()


def get(port: int, path: str, host: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_report_is_written_when_it_is_asked_for(port: int, home: Path) -> None:
    status, page = get(port, f"/{NAME}/")
    assert status == 200 and "SAND 1" in page and 'id="table-2"' in page
    assert get(port, f"/{NAME}/tables/table-2.csv")[1].startswith("experiment,iteration")
    assert get(port, "/")[0] == 302

    shutil.rmtree(home / NAME / "eval_episodes" / "iteration=01")
    get(port, f"/{NAME}/")
    assert "SAND 1" not in get(port, f"/{NAME}/tables/table-2.csv")[1]


def test_a_reload_shows_what_a_run_has_finished_since(port: int, home: Path) -> None:
    def stages() -> list[dict[str, str]]:
        get(port, f"/{NAME}/")
        rows = csv.DictReader(get(port, f"/{NAME}/tables/stages.csv")[1].splitlines())
        return [row for row in rows if (row["table"], row["iteration"]) == ("rollouts", "02")]

    assert stages() == []
    store = ArtifactStore(home, NAME)
    with store.writing("rollouts", "02", inputs={}, identity=Identity(), seed=0, run_id="run") as writer:
        for done in (1, 2):
            writer.journal.put(f"unit {done}", {"rows": []})
            ((row),) = stages()
            assert (row["state"], row["journal"]) == ("being written", str(done))


def test_several_seeds_are_served_together(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAND_HOME", str(home))
    served: list[str] = []

    def serve(live: Live, port: int) -> None:
        served.extend(live.names)
        raise OSError(98, "in use")

    monkeypatch.setattr(viewing, "server", serve)
    CliRunner().invoke(app, ["view", NAME, "--seeds", "0,1"])
    assert served == [NAME, f"{NAME}-seed-1"]


@pytest.mark.parametrize(
    "path",
    [
        f"/{NAME}/../secret.md",
        f"/{NAME}/data/../../secret.md",
        f"/{NAME}/%2e%2e/secret.md",
        f"/{NAME}//etc/passwd",
        f"/{NAME}/data/",
        f"/{NAME}/data/nonesuch.js",
        "/household/",
        "/etc/passwd",
    ],
)
def test_nothing_but_the_reports_files_is_served(port: int, path: str) -> None:
    get(port, f"/{NAME}/")
    status, text = get(port, path)
    assert status == 404 and "not of the report" not in text


def test_a_page_of_another_site_gets_nothing(port: int) -> None:
    assert get(port, f"/{NAME}/", host="rebound.example:80")[0] == 403
    assert get(port, f"/{NAME}/", host=f"localhost:{port}")[0] == 200


def test_a_port_that_is_in_use_is_named(port: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAND_HOME", str(home))
    said = CliRunner().invoke(app, ["view", NAME, "--port", str(port)])
    assert said.exit_code == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in said.output
