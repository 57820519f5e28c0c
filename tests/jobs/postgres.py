"""A PostgreSQL server of the test's own, on a private port and folder; Debian's package `postgresql`."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.models.test_endpoints import free_port

PROGRAMS = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
PASSWORD = "not/so secret"
IN_URL = "not%2Fso%20secret"


def _owner() -> str | None:
    """PostgreSQL does not run as root; then it runs as Debian's user for it. None: as this user."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database."""
    assert PROGRAMS is not None
    folder, owner, port = Path(tempfile.mkdtemp(prefix="sand-postgres-")), _owner(), free_port()
    (folder / "password").write_text(PASSWORD)
    if owner:
        for path in (folder, folder / "password"):
            shutil.chown(path, owner)
    as_owner = ["runuser", "-u", owner, "--"] if owner else []
    data = folder / "data"
    server: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run(
            [
                *(*as_owner, PROGRAMS / "initdb", "-D", data, "-U", "sand", "--no-sync"),
                *("--auth=scram-sha-256", f"--pwfile={folder / 'password'}"),
            ],
            cwd=folder,
            check=True,
            capture_output=True,
        )
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    *(*as_owner, PROGRAMS / "postgres", "-D", data),
                    *("-h", "127.0.0.1", "-p", str(port), "-k", folder),
                ],
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        variables = os.environ | {"PGPASSWORD": PASSWORD}
        create = [PROGRAMS / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "sand", "sand"]
        for _ in range(100):
            if subprocess.run(create, env=variables, capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
        else:
            raise TimeoutError((folder / "log").read_text())
        yield f"postgresql+psycopg2://sand:{IN_URL}@127.0.0.1:{port}/sand"
    finally:
        if server is not None:
            pid = int((data / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, signal.SIGINT)  # a fast shutdown
            server.wait(60)
        shutil.rmtree(folder, ignore_errors=True)
