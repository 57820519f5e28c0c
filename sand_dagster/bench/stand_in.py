"""A model of fixed latency and fixed slots: to a rollout engine it looks like a server on a fast GPU."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence

from sand_dagster.types import Completion, Message, Sampling


class StandInModel:
    """Answers every request after `latency_s`, at most `slots` at once.

    The answer is a function of the conversation: the scripted action of the task and turn or, if there is
    none, the one of `fallback` that the conversation's hash selects. So every arm plays the same games.

    Args:
        scripts: action by (instruction, turn).
    """

    model_id = "stand-in"

    def __init__(
        self, latency_s: float, slots: int, scripts: Mapping[tuple[str, int], str], fallback: Sequence[str]
    ) -> None:
        self._latency_s, self._scripts, self._fallback = latency_s, scripts, fallback
        self._slots = asyncio.Semaphore(slots)
        self.requests = 0

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Wait for a slot, then for the latency."""
        async with self._slots:
            await asyncio.sleep(self._latency_s)
        self.requests += 1
        turn = len(messages) // 2
        instruction = messages[0]["content"].rpartition("here is the task.\n")[2]
        action = self._scripts.get((instruction, turn))
        if action is None:
            mixed = hashlib.sha256(messages[-1]["content"].encode()).digest()[0] + turn
            action = self._fallback[mixed % len(self._fallback)]
        return Completion(f"Action: {action}", 0, 8, "stop")
