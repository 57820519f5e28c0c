"""verifiers plays a game: its own agent, harness and interception; only the model behind it is scripted."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from alfworld_compiled.testing import WALKTHROUGH

vf = pytest.importorskip("verifiers.v1", reason="the extra `verifiers` is not installed")

from verifiers.v1.utils.loaders import load_environment, taskset_class  # noqa: E402

from alfworld_compiled.verifiers import (  # noqa: E402
    AlfworldConfig,
    AlfworldEnvConfig,
    AlfworldTaskset,
    action_in,
)


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("I should look.\nAction: go to desk 1", "go to desk 1"),
        ("Action: look\nno,\nAction:  open fridge 1 \nAnd then I wait.", "open fridge 1"),
        ("thinking\n\ngo to desk 2\n", "go to desk 2"),
        ("", ""),
    ],
)
def test_the_action_in_a_reply(reply: str, action: str) -> None:
    assert action_in(reply) == action


def test_it_is_found_by_its_name(kitchen: Path, tmp_path: Path) -> None:
    config = AlfworldConfig(id="alfworld-verifiers", games=[tmp_path / "games"], cache=tmp_path / "cache")
    assert taskset_class("alfworld-verifiers") is AlfworldTaskset

    (task,) = AlfworldTaskset(config)

    assert task.data.prompt.endswith("Your task is to: put a hot apple in fridge.")
    assert (task.data.kind, Path(task.data.game)) == ("pick_heat_then_place_in_recep", kitchen)


@pytest.mark.skipif(shutil.which("uv") is None, reason="verifiers' harness runs by `uv`")
@pytest.mark.parametrize(("commands", "won", "refused"), [(WALKTHROUGH, 1.0, 0.0), (["dance"] * 3, 0.0, 3.0)])
def test_an_episode(kitchen: Path, tmp_path: Path, commands: list[str], won: float, refused: float) -> None:
    env = load_environment(
        AlfworldEnvConfig(
            taskset=AlfworldConfig(id="alfworld-verifiers", games=[kitchen], cache=tmp_path / "cache"),
            step_limit=len(commands),
        )
    )

    async def run(url: str) -> Any:
        client = vf.EvalClientConfig(base_url=url, api_key_var="NO_KEY_IS_NEEDED")
        (task,) = env.taskset
        async with env.serving():
            (slot,) = env.slots(task)
            return await env.run_slot(slot, vf.ModelContext(model="scripted", client=client))

    with _scripted_model(commands) as url:
        episode = asyncio.run(run(url))

    assert episode.ok, (episode.errors, [trace.errors for trace in episode.traces])
    (trace,) = episode.traces
    assert trace.rewards["won"].score == won
    assert trace.metrics == {"steps": len(commands), "refused_actions": refused}


@contextmanager
def _scripted_model(commands: list[str]) -> Iterator[str]:
    """A chat completions server on the loopback address that gives one command after another."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            turn = sum(message["role"] == "assistant" for message in body["messages"])
            content = f"Thought: next.\nAction: {commands[turn]}"
            delta = {"role": "assistant", "content": content}
            if body.get("stream"):
                kind = "text/event-stream"
                chunks = [_chunk("chat.completion.chunk", delta=delta, finish_reason=None)]
                chunks += [_chunk("chat.completion.chunk", delta={}, finish_reason="stop")]
                data = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
            else:
                kind = "application/json"
                data = json.dumps(_chunk("chat.completion", message=delta, finish_reason="stop"))
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data.encode())))
            self.end_headers()
            self.wfile.write(data.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def _chunk(kind: str, **choice: object) -> dict[str, object]:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choices = [{"index": 0, **choice}]
    return {"id": "1", "object": kind, "created": 1, "model": "scripted", "choices": choices, "usage": usage}
