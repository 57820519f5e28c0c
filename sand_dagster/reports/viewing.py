"""`sand view`: a report on loopback that is written again, on request, when its tables have changed."""

from __future__ import annotations

import mimetypes
import re
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import JOURNAL, MANIFEST
from sand_dagster.errors import ArtifactError
from sand_dagster.reports.places import LOOPBACK, PAGE, path
from sand_dagster.reports.writing import write_report

_FILE = re.compile(
    r"(index\.html|report\.md|(?:data|tables|figures)/[A-Za-z0-9][A-Za-z0-9-]*\.(?:js|csv|md|svg))"
)
"""What a report has. Nothing else is served: no path leads out of its folder."""
_HOSTS = (LOOPBACK, "localhost")


class Live:
    """A report in `folder` that follows its experiments' tables."""

    def __init__(self, names: Sequence[str], folder: Path, home: Path) -> None:
        self.names, self.folder = names, folder
        self._home = home
        self._seen: object = None
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Write the report again if a table or a journal has changed since it was written.

        Raises:
            ExperimentError, ArtifactError, DiskFull: as `write_report`.
        """
        with self._lock:
            found = self._changes()
            if found != self._seen:
                write_report(self.names, self.folder, self._home)
                self._seen = found

    def _changes(self) -> list[tuple[str, int, int]]:
        """The manifests and journals of the experiments, with their times and sizes."""
        found = []
        for name in self.names:
            for table in TABLES:
                below = self._home / name / table
                for name_of in (MANIFEST, JOURNAL):
                    for file in sorted([*below.glob(name_of), *below.glob(f"iteration=*/{name_of}")]):
                        try:
                            stat = file.stat()
                        except FileNotFoundError:  # it is being replaced at this moment
                            continue
                        found.append((str(file), stat.st_mtime_ns, stat.st_size))
        return found


def server(live: Live, port: int) -> ThreadingHTTPServer:
    """A server of `live` on loopback; port 0 takes a free one. The caller starts and closes it.

    Raises:
        OSError: the port is in use.
    """

    class Handler(BaseHTTPRequestHandler):
        """Answers GET with the report's files."""

        def do_GET(self) -> None:
            below = path(live.names)
            asked = self.path.partition("?")[0]
            # Another site's page could reach a server on loopback under a name of its own.
            if self.headers.get("Host", "").rpartition(":")[0] not in _HOSTS:
                return self._say(HTTPStatus.FORBIDDEN, f"this server answers to {LOOPBACK} only")
            if asked == "/":
                return self._answer(HTTPStatus.FOUND, "text/plain", b"", Location=below)
            name = asked.removeprefix(below) or PAGE
            if not asked.startswith(below) or not _FILE.fullmatch(name):
                return self._say(HTTPStatus.NOT_FOUND, f"there is no such file; the report is at {below}")
            try:
                if name == PAGE:
                    live.refresh()
                content = (live.folder / name).read_bytes()
            except FileNotFoundError:
                return self._say(HTTPStatus.NOT_FOUND, "the report was written again: reload the page")
            except ArtifactError as error:
                return self._say(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}")
            self._answer(HTTPStatus.OK, mimetypes.guess_type(name)[0] or "text/plain", content)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not printed."""

        def _say(self, status: HTTPStatus, text: str) -> None:
            self._answer(status, "text/plain", f"{text}\n".encode())

        def _answer(self, status: HTTPStatus, kind: str, content: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

    return ThreadingHTTPServer((LOOPBACK, port), Handler)
