"""A user at Dagster's UI: a real webserver with its daemon, and a page of a real browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import dagster as dg
import pytest
from playwright.sync_api import Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.assets.pipeline import NAME, Pipeline
from tests.processes import free_port

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
PATIENCE_S = 150
QUICKLY = """
run_coordinator:
  module: dagster._core.run_coordinator
  class: QueuedRunCoordinator
  config: {dequeue_interval_seconds: 1}
"""
"""Added to the settings of Dagster: a queued run starts a second later, not five."""

WORKSPACE = """\
load_from:
  - python_module:
      module_name: tests.e2e.scripted_location
      location_name: sand_dagster
"""
T = TypeVar("T")


def wait_for(ready: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """Wait until `ready` returns something, and return it."""
    deadline = time.monotonic() + patience_s
    while not (found := ready()):
        assert time.monotonic() < deadline, f"there was no result within {patience_s:g} s"
        time.sleep(0.2)
    return found


@contextmanager
def served(home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`dagster dev` over the scripted location: its address, and its process."""
    port = free_port()
    (home / "workspace.yaml").write_text(WORKSPACE)
    command = [sys.executable, "-m", "dagster", "dev", "--workspace", str(home / "workspace.yaml")]
    environment = {**os.environ, "SAND_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert server.poll() is None, (home / "server.log").read_text()[-4000:]
        try:
            urllib.request.urlopen(f"{url}/server_info")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    try:
        wait_for(answers)
        yield url, server
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def another(home: Path, instance: dg.DagsterInstance, name: str, *iterations: str) -> None:
    """A small experiment with its tables without iterations, and the given `iterations`."""
    file = home / "experiments" / f"{name}.yaml"
    file.write_text(f"description: as small as it can be\nextends: {NAME}-base\n")
    pipeline = Pipeline(home, instance, name)
    pipeline.materialise()
    for iteration in iterations:
        pipeline.materialise(iteration=iteration)


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page with timeouts that are long enough for a busy machine."""
    if BROWSER is None:
        lacking = "no Chromium here: `make browser`, as root, installs Debian's package"
        assert not os.environ.get("CI"), lacking
        pytest.skip(lacking)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(PATIENCE_S * 1000)
        expect.set_options(timeout=PATIENCE_S * 1000)
        yield page
        browser.close()


@dataclass(frozen=True)
class Ui:
    """The UI for a user, and the instance behind it, to check what really happened."""

    url: str
    home: Path
    instance: dg.DagsterInstance
    page: Page

    def experiment(self, name: str) -> Pipeline:
        """An experiment of this home."""
        return Pipeline(self.home, self.instance, name)

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.url}/{path}")
        return self.page

    def reload(self) -> None:
        """The button `Reload definitions`, until it is done."""
        button = self.open("assets").get_by_role("button", name="Reload definitions")
        button.click()
        expect(button).to_be_disabled()
        expect(button).to_be_enabled()

    def materialise(self, asset: str, partition: str) -> dg.DagsterRun:
        """A partition of an asset, by the button on the asset's page."""
        page = self.open(f"assets/{asset}")
        page.get_by_role("button", name="Materialize").first.click()
        page.get_by_text("Select a partition").click()
        # The page behind the dialog has the same text.
        popped_up = page.locator(".dagster-portal")
        popped_up.get_by_text(partition, exact=True).filter(visible=True).last.click()
        page.keyboard.press("Escape")
        return self._launch(re.compile("Launch (1 )?run", re.IGNORECASE))

    def launch(self, job: str, partition: str) -> dg.DagsterRun:
        """A partition of a job, from its launchpad."""
        page = self.open(f"locations/sand_dagster/jobs/{job}/playground")
        option = page.get_by_text(partition, exact=True).filter(visible=True).last

        def listed() -> bool:
            """A list that opens before the partitions have come can stay empty."""
            page.get_by_placeholder("Partition").click()
            try:
                option.wait_for(timeout=5000)
            except PlaywrightTimeout:
                page.reload()
                return False
            return True

        wait_for(lambda: listed() or None)
        option.click()
        return self._launch("Launch Run")

    def again_from_failure(self, run: dg.DagsterRun) -> dg.DagsterRun:
        """`From failure` in the menu of the run's page."""
        page = self.open(f"runs/{run.run_id}")
        main = page.get_by_role("button", name=re.compile("Re-execute"))
        main.locator("xpath=following::button[1]").click()
        return self._launch("From failure", role="menuitem")

    def _launch(
        self, button: str | re.Pattern[str], role: Literal["button", "menuitem"] = "button"
    ) -> dg.DagsterRun:
        before = {run.run_id for run in self.instance.get_runs()}
        self.page.get_by_role(role, name=button).first.click()
        (run,) = wait_for(lambda: [run for run in self.instance.get_runs() if run.run_id not in before])
        return run

    def ended(self, run: dg.DagsterRun) -> dg.DagsterRunStatus:
        """How the run ended; its page has to show the same."""

        def status() -> dg.DagsterRunStatus | None:
            found = self.instance.get_run_by_id(run.run_id)
            return found.status if found and found.is_finished else None

        found = wait_for(status)
        page = self.open(f"runs/{run.run_id}")
        expect(page.get_by_text(found.value.capitalize(), exact=True).first).to_be_visible()
        return found

    def materialised(self, run: dg.DagsterRun) -> list[str]:
        """The stages that the run materialised, in order."""
        records = self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        keys = (record.get_dagster_event().asset_key for record in records)
        return [key.path[-1] for key in keys if key]
