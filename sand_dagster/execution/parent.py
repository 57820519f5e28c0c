"""The child's side of the pipes to its parent. The parent's side is `child.Child`."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Message = dict[str, Any]
"""A request or an answer: a JSON object on one line."""

PARENT_CHECK_S = 5.0
"""How often a waiting process checks whether its parent is still there."""

_CHUNK = 1 << 16


class Parent:
    """The process that started this one by `Child.start`.

    Standard input and output are then used only for the parent: the output of libraries, and of processes
    that they start, goes to standard error. Make this object before any of that.
    """

    def __init__(self) -> None:
        self._requests, self._answers = os.dup(0), os.dup(1)
        with Path(os.devnull).open() as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        self._pid = os.getppid()
        self._rest = bytearray()

    def requests(self) -> Iterator[Message]:
        """The requests one after another, until the parent closes its end or is gone."""
        while True:
            # A process that the parent forked may keep our input open after the parent's death: then the
            # input never ends.
            while not select.select([self._requests], [], [], PARENT_CHECK_S)[0]:
                if self.gone:
                    return
            if (received := self.receive()) is None:
                return
            yield from received

    def receive(self) -> list[Message] | None:
        """The requests that are complete after one read; None when the parent has closed its end.

        It waits for input; an event loop calls it when `fileno` is readable.
        """
        chunk = os.read(self._requests, _CHUNK)
        if not chunk:
            return None
        self._rest += chunk
        if b"\n" not in chunk:
            return []
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines]

    def fileno(self) -> int:
        """The file descriptor that requests come on."""
        return self._requests

    @property
    def gone(self) -> bool:
        """Whether the parent has ended."""
        return os.getppid() != self._pid

    def answer(self, request: Message, reply: Message) -> None:
        """Send the reply to a request. If the parent expects none, an error goes to standard error.

        Raises:
            BrokenPipeError: the parent is gone.
        """
        if "id" not in request:
            if "error" in reply:
                print(f"the request {request['op']} failed: {reply}", file=sys.stderr)
            return
        rest = memoryview(json.dumps({"id": request["id"], **reply}).encode() + b"\n")
        while rest:
            rest = rest[os.write(self._answers, rest) :]
