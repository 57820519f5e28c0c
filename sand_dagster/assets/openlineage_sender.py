"""OpenLineage events on their way out: the official client, in a thread that no stage waits for.

Imported only where the client is configured: `openlineage-python` is an optional package.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import threading
import time
from functools import cache
from queue import Full, Queue

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import RunEvent
from requests import RequestException

_THREAD = "openlineage"
_HELD = 1000
"""Events that may wait."""

_AT_EXIT_S = 5.0
"""Seconds that the end of the process waits for events that are not sent yet."""

_WIDTH = 300
_OURS = {"facets": {"source_code_location": {"disabled": True}, "environment_variables": []}}
"""The client would add the working folder's git remote, whose URL may hold a key, and whichever variables of
the environment it was told."""

_log = logging.getLogger(__name__)


class Sender:
    """Sends events one after another. Who gives it one neither waits nor fails; what goes wrong is said once.

    An event that could not be sent is dropped, after the transport's own retries.
    """

    def __init__(self) -> None:
        self._waiting: Queue[RunEvent] = Queue(_HELD)
        self._warned = self._failing = False
        self._unread = ""
        self._client = self._connected()
        if self._client is not None:
            threading.Thread(target=self._send_all, name=_THREAD, daemon=True).start()
            atexit.register(self.close)

    def send(self, event: RunEvent) -> None:
        """Have `event` sent after those before it."""
        if self._client is None:
            return
        try:
            self._waiting.put_nowait(event)
        except Full:
            self.warn(f"{_HELD} events wait already, further ones are dropped")

    def warn(self, problem: str) -> None:
        """Say that events are lost, the first time."""
        if self._warned:
            return
        self._warned = True
        self._unread = (
            f"OpenLineage events are lost: {problem}. Stages go on without them, and this is said once. "
            "Check the client's settings (OPENLINEAGE_URL, OPENLINEAGE_CONFIG or OPENLINEAGE__TRANSPORT__…), "
            "or set OPENLINEAGE_DISABLED=true."
        )
        _log.warning("%s", self._unread)

    def unread(self) -> str:
        """What was said and is not in a run's log yet; empty from the second call on."""
        said, self._unread = self._unread, ""
        return said

    def close(self) -> None:
        """Wait until everything is sent: for seconds, and not at all where sending fails."""
        if self._client is None:
            return
        end = time.monotonic() + _AT_EXIT_S
        while self._waiting.unfinished_tasks and not self._failing and time.monotonic() < end:
            time.sleep(0.01)
        # A transport that sends by itself, such as `async_http`, is given what is left of the time.
        sent = self._client.close(max(0.1, end - time.monotonic()))
        if self._waiting.unfinished_tasks or not sent:
            self.warn(f"some were not sent within {_AT_EXIT_S:g} s of the end")

    def _connected(self) -> OpenLineageClient | None:
        # Its messages have a trace, or a variable's value that may be a key, and each retry has one: ours
        # says once what is wrong.
        logging.getLogger("openlineage").setLevel(logging.CRITICAL)
        logging.getLogger("urllib3.connectionpool").addFilter(lambda each: each.threadName != _THREAD)
        file = os.environ.get("OPENLINEAGE_CONFIG")
        if file and not os.access(file, os.R_OK):
            self.warn(f"OPENLINEAGE_CONFIG names {file}, which cannot be read")
            return None
        try:
            client = OpenLineageClient(config=_OURS)
        except Exception as error:  # whatever a user's settings make the client raise
            self.warn(_said(error))
            return None
        if client.transport.kind == "console" and (client.config.transport or {}).get("type") != "console":
            self.warn("the client's settings name no transport")
            return None
        return client

    def _send_all(self) -> None:
        assert self._client is not None
        while True:
            event = self._waiting.get()
            try:
                self._client.emit(event)
                self._failing = False
            except Exception as error:  # each transport has errors of its own
                self._failing = True
                self.warn(f"the transport `{self._client.transport.kind}` failed ({_said(error)})")
            finally:
                self._waiting.task_done()


@cache
def sender() -> Sender:
    """This process's."""
    return Sender()


def _said(error: Exception) -> str:
    """An error without what may hold a key: the whole URL, the server's answer."""
    if isinstance(error, RequestException):
        status = error.response.status_code if error.response is not None else None
        return type(error).__name__ + (f", status {status}" if status else "")
    text = re.sub(r"//[^/@\s]*@", "//…@", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:_WIDTH]}"
