"""A team's instance: PostgreSQL, one shared home, two users whose runs are under way at once, a daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import pytest

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.jobs.instance import POSTGRES, opened
from tests.assets.pipeline import Pipeline
from tests.e2e.scripted_location import SLOW
from tests.e2e.ui import QUICKLY, WORKSPACE, served, wait_for
from tests.jobs.postgres import PASSWORD, PROGRAMS, postgres

GROUP, USERS = 24680, {"alice": 24681, "bob": 24682}
RUN = """\
import sys
from sand_dagster.jobs.run import run_experiment
from tests.e2e.scripted_location import defs
run_experiment(defs, sys.argv[1], "01")
"""


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder that both users may write to: setgid, for the group."""
    folder = Path(tempfile.mkdtemp(prefix="sand-team-"))
    if os.getuid() == 0:
        shutil.chown(folder, group=GROUP)
    folder.chmod(0o2775)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def started(
    user: str, command: list[str], variables: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the user; where there can be no other users, of the one who tests."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, *command],
            env=variables | {"XDG_CACHE_HOME": str(log.parent / f"cache-{user}"), "HOME": str(log.parent)},
            stdout=output,
            stderr=output,
            umask=0o002,
            **({"user": USERS[user], "group": GROUP, "extra_groups": []} if _other_users() else {}),
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def _other_users() -> bool:
    """Whether we may become another user, who can also execute this Python and read this code."""
    needed = (Path(sys.executable), Path(sys.executable).resolve(), Path(__file__))
    folders = {folder for path in needed for folder in path.parents}
    return os.getuid() == 0 and all(folder.stat().st_mode & 0o001 for folder in folders)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(PROGRAMS is None, reason="needs Debian's package postgresql")
def test_two_users_run_at_once_and_the_daemon_launches_a_third(monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres() as url, shared_folder() as folder:
        home = folder / "home"
        monkeypatch.setenv(POSTGRES, url)
        monkeypatch.setenv("SAND_HOME", str(home))
        monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
        before = os.umask(0o002)
        try:
            _team(home)
        finally:
            os.umask(before)


def _team(home: Path) -> None:
    home.mkdir()
    with dg.DagsterInstance.ephemeral() as instance:
        Pipeline(home, instance)
    for user in (*USERS, "carol"):
        file = home / "experiments" / f"{user}.yaml"
        file.write_text("description: as small as it can be\nextends: small-base\n")
    (home / SLOW).write_text("0.2")
    with opened(home):
        pass
    settings = home / "dagster" / "dagster.yaml"
    settings.write_text(settings.read_text() + QUICKLY)
    assert PASSWORD not in settings.read_text() and os.environ[POSTGRES] not in settings.read_text()
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    logs = {user: home.parent / f"{user}.log" for user in USERS}
    with served(home), ExitStack() as until_their_end:
        runs = {
            user: until_their_end.enter_context(started(user, ["-c", RUN, user], variables, log))
            for user, log in logs.items()
        }
        with opened(home) as instance:

            def both() -> bool:
                for user, run in runs.items():
                    assert run.poll() in (None, 0), logs[user].read_text()[-4000:]
                under_way = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
                return {run.job_name for run in under_way} >= set(USERS)

            wait_for(both, patience_s=600)
            (home / "workspace.yaml").write_text(WORKSPACE)
            launch = ["-m", "dagster", "job", "launch", "-w", str(home / "workspace.yaml"), "-j"]
            subprocess.run([sys.executable, *launch, "carol_setup"], env=variables, check=True)
            for user, run in runs.items():
                assert run.wait(600) == 0, logs[user].read_text()[-4000:]

            def launched() -> bool:
                found = instance.get_runs(dg.RunsFilter(job_name="carol_setup"))
                assert [run.status for run in found] != [dg.DagsterRunStatus.FAILURE]
                return [run.status for run in found] == [dg.DagsterRunStatus.SUCCESS]

            wait_for(launched)
            for user in USERS:
                done = instance.get_runs(dg.RunsFilter(job_name=user))
                assert [run.status for run in done] == [dg.DagsterRunStatus.SUCCESS] * 2, user
    assert not list((home / "dagster").rglob("*.db")), "nothing of the instance is in files"
    alice, bob = (ArtifactStore(home, user).require("rollouts", "01") for user in USERS)
    assert alice.content_hash == bob.content_hash and alice.rows > 0
