"""An OpenAI-compatible server of a few lines on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sand_dagster.interfaces import PromptTooLong
from sand_dagster.models.endpoint import EndpointFailed
from sand_dagster.models.engines import Engines, OpenGenerator
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.types import Message, Sampling

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""Status, body and headers; the body is a value to send as JSON, or bytes."""
STANDARD = {"top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
EXTENDED = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
CHAT: list[Message] = [{"role": "user", "content": "look"}]
TOO_LONG = (
    "This model's maximum context length is 512 tokens. However, your prompt contains 600 input tokens, "
    "which exceeds this limit even without any output tokens."
)


def reply(text: str, prompt_tokens: int = 10, finish: str = "stop") -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 3, "total_tokens": prompt_tokens + 3}
    usage_details = {**usage, "prompt_tokens_details": {"cached_tokens": 4}}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return 200, {**body, "usage": usage_details}


class Server(ThreadingHTTPServer):
    """Answers completions from `answers`, in order, and records the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        model = {"id": "policy", "object": "model", "created": 0, "owned_by": "x", "max_model_len": 512}
        self.models: Answer = (200, {"object": "list", "data": [model]})
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._send(*self.server.models)

    def do_POST(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._send(*self.server.answers.pop(0))

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if content.startswith(b"<") else "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def own_engines() -> Iterator[Engines]:
    engines = Engines()
    yield engines
    engines.release_all()


def ask(
    engines: Engines,
    url: str,
    work: Callable[[OpenGenerator], Coroutine[Any, Any, Any]],
    model: str = "policy",
    retries: int = 2,
    key: str | None = None,
) -> Any:
    async def script() -> Any:
        source = ModelSource(model=model, endpoint=url, api_key_variable=key)
        settings = GenerationSettings(endpoint_retries=retries, endpoint_patience=0)
        async with engines.open(source, settings) as generator:
            return await work(generator)

    return engines.run(script())


def test_a_completion_with_its_seed_and_counts(
    server: Server, own_engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    server.answers = [reply("Action: look"), reply("Action: go", finish="length")]

    async def work(generator: OpenGenerator) -> None:
        assert generator.model_id == "policy"
        first = await generator.complete(CHAT, Sampling(0.7, 20, seed=9, stop=("\n",)))
        assert (first.text, first.finish, first.prompt_tokens, first.completion_tokens) == (
            "Action: look",
            "stop",
            10,
            3,
        )
        assert (await generator.complete(CHAT, Sampling(0.0, 20, seed=9))).finish == "length"
        stats = generator.stats()
        assert (stats.requests, stats.prompt_tokens, stats.cached_prompt_tokens) == (2, 20, 8)
        assert stats.standard_only == 0

    ask(own_engines, server.url, work, key="MY_KEY")
    assert server.asked == [
        {
            "model": "policy",
            "messages": CHAT,
            "temperature": 0.7,
            "max_tokens": 20,
            "seed": 9,
            "stop": ["\n"],
            **STANDARD,
            **EXTENDED,
        },
        {
            "model": "policy",
            "messages": CHAT,
            "temperature": 0.0,
            "max_tokens": 20,
            **STANDARD,
            **EXTENDED,
        },
    ]
    assert server.keys == ["Bearer secret"] * 2


def test_a_server_that_is_busy_is_asked_again(server: Server, own_engines: Engines) -> None:
    server.answers = [
        (503, {"error": {"message": "busy"}}),
        (429, {"error": {"message": "slow"}}),
        reply("ok"),
    ]
    answer = ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20)))
    assert answer.text == "ok"
    assert len(server.asked) == 3


def test_a_server_that_stays_broken_is_named(server: Server, own_engines: Engines) -> None:
    server.answers = [(500, {"error": {"message": "out of memory"}})] * 2
    with pytest.raises(EndpointFailed, match=rf"{server.url}.*'policy'.*HTTP 500.*out of memory"):
        ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20)), retries=1)


@pytest.mark.parametrize("answer", [(400, {"error": {"message": TOO_LONG}}), reply("...", prompt_tokens=600)])
def test_a_prompt_too_long_is_reported_or_noticed(
    server: Server, own_engines: Engines, answer: Answer
) -> None:
    server.answers = [answer]
    with pytest.raises(PromptTooLong) as refused:
        ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20)))
    assert (refused.value.prompt_tokens, refused.value.context) == (600, 512)


def test_another_refusal_is_not_taken_for_it(server: Server, own_engines: Engines) -> None:
    server.answers = [(400, {"error": {"message": "temperature must be positive"}})]
    with pytest.raises(EndpointFailed, match="temperature must be positive"):
        ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20)))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "Unrecognized request arguments supplied: min_p, repetition_penalty, top_k"),
        (422, "body.top_k: Extra inputs are not permitted"),
        (400, "Unknown parameter: 'min_p'."),
    ],
)
def test_a_server_that_knows_the_standard_alone_is_asked_with_it_and_that_is_logged_once(
    server: Server, own_engines: Engines, caplog: pytest.LogCaptureFixture, status: int, said: str
) -> None:
    server.answers = [(status, {"error": {"message": said}}), reply("a"), reply("b"), reply("c")]

    async def work(generator: OpenGenerator) -> str:
        said = [(await generator.complete(CHAT, Sampling(0.0, 20))).text for _ in range(2)]
        assert (generator.stats().requests, generator.stats().standard_only) == (2, 2)
        return "".join(said)

    assert ask(own_engines, server.url, work) == "ab"
    own_engines.release_all()
    last = ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20, pattern="Action: .+")))
    assert last.text == "c"
    assert [EXTENDED.keys() <= asked.keys() for asked in server.asked] == [True, False, False, False]
    assert all(STANDARD.items() <= asked.items() for asked in server.asked)
    assert server.asked[3]["structured_outputs"] == {"regex": "Action: .+"}
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert server.url in record.getMessage()
    assert "top_k, min_p, repetition_penalty" in record.getMessage()
    assert said in record.getMessage()


def test_a_refusal_that_the_fields_did_not_cause_is_not_remembered(
    server: Server, own_engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = (400, {"error": {"message": "unknown parameter: 'messages'"}})
    server.answers = [unknown, unknown, reply("ok")]
    with pytest.raises(EndpointFailed, match="unknown parameter"):
        ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20)))
    assert ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20))).text == "ok"
    assert EXTENDED.items() <= server.asked[2].items()
    assert not caplog.records


def test_an_answer_by_another_checkpoint_is_an_error(server: Server, own_engines: Engines) -> None:
    said = reply("ok")[1]
    server.answers = [(200, {**said, "model": "policy"}), (200, {**said, "model": "yesterday"})]

    async def script() -> None:
        source = ModelSource(model="policy", endpoint=server.url, checkpoint=Path("/runs/model"))
        async with own_engines.open(source, GenerationSettings(endpoint_patience=0)) as generator:
            await generator.complete(CHAT, Sampling(0.0, 20))
            await generator.complete(CHAT, Sampling(0.0, 20))

    with pytest.raises(
        EndpointFailed,
        match=r"'policy' and answered with 'yesterday'.*vllm serve /runs/model --served-model-name policy",
    ):
        own_engines.run(script())
    server.models = (200, {"data": [{"id": "yesterday"}]})
    own_engines.release_all()
    with pytest.raises(EndpointFailed, match=r"serves yesterday.*vllm serve /runs/model"):
        own_engines.run(script())


def completion(**changed: Any) -> dict[str, Any]:
    return {**reply("ok")[1], **changed}


USAGE = {"prompt_tokens": 10, "completion_tokens": 3}
GARBLED = [
    (b"\xff\xfe\x00", "Invalid JSON"),
    (b"", "Invalid JSON"),
    (b"<html><body>Sign in</body></html>", "Invalid JSON"),
    ([completion()], "valid dictionary|object"),
    ({"error": {"message": "overloaded"}}, "choices: Field required"),
    (completion(choices=[]), "choices: .*at least 1 item"),
    (completion(choices=[{"finish_reason": "stop"}]), r"choices\.0\.message: Field required"),
    (completion(choices=[{"message": None}]), r"choices\.0\.message"),
    (completion(choices=[{"message": {"content": ["a"]}}]), r"choices\.0\.message\.content: .*valid string"),
    (completion(usage={**USAGE, "prompt_tokens": "ten"}), r"usage\.prompt_tokens: .*valid integer"),
    (completion(usage={**USAGE, "completion_tokens": "3"}), r"usage\.completion_tokens: .*valid integer"),
    (completion(usage={**USAGE, "completion_tokens": -1}), r"usage\.completion_tokens"),
]


@pytest.mark.parametrize(("body", "wrong"), GARBLED)
def test_an_answer_of_something_else_is_asked_for_again_and_then_shown(
    server: Server, own_engines: Engines, body: Any, wrong: str
) -> None:
    server.answers = [(200, body), reply("ok")]
    assert ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20))).text == "ok"
    server.answers = [(200, body)] * 2
    with pytest.raises(
        EndpointFailed, match=rf"(?s){server.url} answered .*not a chat completion \(.*{wrong}"
    ):
        ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20)))
    assert len(server.asked) == 4


def test_what_is_shown_of_it_is_its_beginning_without_the_key(
    server: Server, own_engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    page = b"<html>key sk-secret " + b"x" * 1000
    server.answers = [(200, page)] * 2 + [(400, {"error": {"message": "no such key: sk-secret"}})]
    for said in ("<html>key [API key] xxx", "no such key: [API key]"):
        with pytest.raises(EndpointFailed) as failed:
            ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20)), key="MY_KEY")
        assert said in str(failed.value)
        assert "sk-secret" not in str(failed.value)
        assert str(failed.value).count("x") < 250


def test_no_text_and_no_counts_are_an_empty_reply(server: Server, own_engines: Engines) -> None:
    said = {"message": {"role": "assistant", "content": None}, "finish_reason": "length"}
    server.answers = [(200, {"choices": [said]})]
    answer = ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20)))
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens, answer.finish) == (
        "",
        0,
        0,
        "length",
    )


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", ["policy"], {"data": [{"name": "policy"}]}])
def test_a_list_of_models_of_something_else_is_shown(server: Server, own_engines: Engines, body: Any) -> None:
    server.models = (200, body)
    with pytest.raises(EndpointFailed, match=rf"(?s){server.url} answered .*not a list of models"):
        ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20)))


def test_the_error_for_a_model_that_is_not_served_lists_those_that_are(
    server: Server, own_engines: Engines
) -> None:
    with pytest.raises(EndpointFailed, match=rf"{server.url} does not serve the model 'base'.*policy"):
        ask(own_engines, server.url, lambda g: g.complete(CHAT, Sampling(0.0, 20)), model="base")


def test_an_absent_server_and_a_missing_key_are_errors(
    own_engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://127.0.0.1:9/v1"
    with pytest.raises(EndpointFailed, match=rf"{url}.*APIConnectionError"):
        ask(own_engines, url, lambda g: g.complete(CHAT, Sampling(0.0, 20)), retries=0)
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(EndpointFailed, match="MY_KEY, which is not set"):
        ask(own_engines, url, lambda g: g.complete(CHAT, Sampling(0.0, 20)), key="MY_KEY")
