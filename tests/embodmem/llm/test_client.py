"""The client against a local server that speaks the protocol and fails in every way that a real one does."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from embodmem.errors import (
    ConfigError,
    InvalidInput,
    LlmBadAnswer,
    LlmBusy,
    LlmError,
    LlmFailed,
    LlmRefused,
    LlmTimeout,
    LlmUnreachable,
)
from tests.embodmem.llm.stand_in import (
    DONE,
    StandIn,
    calls_of,
    completion,
    drop,
    hang,
    piece,
    raw,
    stand_in,
    status,
    stream,
)

pytest.importorskip("openai", reason="the extra llm is not installed")
from embodmem.llm import Answer, LlmClient, LlmSettings  # noqa: E402

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "pick", "parameters": {"type": "object"}}}


def ask(server: StandIn, waits: list[float] | None = None, tools: Any = (), **settings: Any) -> Answer:
    given = {"timeout_s": 5.0, "backoff_s": 0.01} | settings
    made = LlmSettings(base_url=server.url, model="stand-in", api_key="secret", **given)
    heard: list[str] = []
    with LlmClient(made, sleep=(waits if waits is not None else []).append) as client:
        answer = client.chat(HELLO, tools, heard.append)
    assert "".join(heard).endswith(answer.text) or not made.stream
    return answer


def test_an_answer() -> None:
    with stand_in(completion("hello yourself")) as server:
        answer = ask(server, max_tokens=50)
        assert (answer.text, answer.calls, answer.finish, answer.tokens) == ("hello yourself", (), "stop", 10)
        ((path, headers, body),) = server.requests
        assert path == "/v1/chat/completions" and headers["authorization"] == "Bearer secret"
        assert body["messages"] == HELLO and body["model"] == "stand-in" and body["max_tokens"] == 50
        assert body["temperature"] == 0 and "tools" not in body


def test_tool_calls() -> None:
    with stand_in(completion(None, ("pick", '{"thing": "object:3"}'), ("go", "{}"))) as server:
        answer = ask(server, tools=[TOOL])
        assert [(call.name, call.values()) for call in answer.calls] == [("pick", {"thing": "object:3"}), ("go", {})]
        assert answer.text == "" and answer.finish == "tool_calls"
        assert server.requests[0][2]["tools"] == [TOOL]


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"', "nonsense"])
def test_arguments_that_are_no_object(arguments: str) -> None:
    with stand_in(completion(None, ("pick", arguments))) as server:
        (call,) = ask(server).calls
        with pytest.raises(LlmBadAnswer, match="pick: wanted arguments as"):
            call.values()


def test_a_stream_of_text() -> None:
    parts = (piece(role="assistant", content=""), piece(content="hello "), piece(content="yourself"), piece("stop"))
    with stand_in(stream(*parts, DONE)) as server:
        answer = ask(server, stream=True)
        assert (answer.text, answer.finish) == ("hello yourself", "stop")
        assert server.requests[0][2]["stream"] is True


def test_a_stream_of_tool_calls() -> None:
    first, second = calls_of(("pick", '{"thi'), ("go", ""))
    parts = (
        piece(tool_calls=[first | {"index": 0}]),
        piece(tool_calls=[{"index": 0, "function": {"arguments": 'ng": "mug"}'}}]),
        piece(tool_calls=[second | {"index": 1}]),
        piece("tool_calls"),
    )
    with stand_in(stream(*parts, DONE)) as server:
        calls = ask(server, stream=True).calls
        assert [(call.id, call.name, call.values()) for call in calls] == [
            ("call_0", "pick", {"thing": "mug"}),
            ("call_1", "go", {}),
        ]


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
def test_refusals_are_not_repeated(code: int) -> None:
    waits: list[float] = []
    with stand_in(status(code, "wrong key")) as server:
        with pytest.raises(LlmRefused, match=f"{code}: .*wrong key"):
            ask(server, waits)
        assert len(server.requests) == 1 and waits == []


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (status(429), LlmBusy),
        (status(500), LlmFailed),
        (status(503), LlmFailed),
        (drop(), LlmUnreachable),
        (raw(b'{"choices": ['), LlmBadAnswer),
        (raw(b"<html>gateway</html>", "text/html"), LlmBadAnswer),
        (raw(b"{}"), LlmBadAnswer),
        (raw(b'{"choices": []}'), LlmBadAnswer),
        (raw(b"[]"), LlmBadAnswer),
    ],
    ids=["429", "500", "503", "dropped", "half JSON", "HTML", "empty", "no choice", "a list"],
)
def test_what_may_pass_is_tried_again(bad: Any, kind: type[LlmError]) -> None:
    waits: list[float] = []
    with stand_in(bad, bad, completion("at last")) as server:
        assert ask(server, waits).text == "at last"
        assert len(server.requests) == 3 and len(waits) == 2
        assert 0.005 <= waits[0] <= 0.01 and 0.01 <= waits[1] <= 0.02  # doubled, with jitter
    with stand_in(bad) as server:
        with pytest.raises(kind):
            ask(server, max_retries=2)
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    "bad",
    [
        stream(piece(content="hel"), cut=True),
        stream(piece(content="hel")),
        stream(piece(content="hel"), DONE),
        stream(piece(content="hel"), b"data: {half\n\n", DONE),
        stream(piece(content="hel"), b'data: {"error": {"message": "overloaded"}}\n\n', DONE),
    ],
    ids=["cut", "ended", "no finish", "no JSON", "error event"],
)
def test_streams_that_break_are_asked_for_again(bad: Any) -> None:
    good = stream(piece(content="whole"), piece("stop"), DONE)
    with stand_in(bad, good) as server:
        assert ask(server, stream=True).text == "whole"
        assert len(server.requests) == 2
    with stand_in(bad) as server:
        with pytest.raises((LlmBadAnswer, LlmUnreachable)):
            ask(server, stream=True, max_retries=1)
        assert len(server.requests) == 2


def test_how_long_the_endpoint_asks_to_wait() -> None:
    waits: list[float] = []
    with stand_in(status(429, Retry_After="3"), status(503, Retry_After="0"), completion("ok")) as server:
        assert ask(server, waits).text == "ok"
        assert waits == [3.0, 0.0]
    with stand_in(status(429, Retry_After="3600")) as server:
        with pytest.raises(LlmBusy):
            ask(server, waits)
        assert len(server.requests) == 1  # longer than max_backoff_s: not waited for
    with stand_in(status(429, Retry_After="Wed, 21 Oct 2099 07:28:00 GMT"), completion("ok")) as server:
        assert ask(server).text == "ok"


def test_slow_answers() -> None:
    with stand_in(hang(3.0)) as server:
        with pytest.raises(LlmTimeout, match=r"within 0.3 s"):
            ask(server, timeout_s=0.3)
        assert len(server.requests) == 1
    drip = stream(*[piece(content="x")] * 40, piece("stop"), DONE, pause_s=0.1)
    with stand_in(drip) as server, pytest.raises(LlmTimeout):
        ask(server, stream=True, timeout_s=0.5)  # each piece is in time, the whole is not
    stopped = stream(piece(content="x"), piece(content="y"), pause_s=2.0)
    with stand_in(stopped) as server, pytest.raises(LlmTimeout):
        ask(server, stream=True, timeout_s=0.5)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = LlmSettings(base_url=f"http://127.0.0.1:{port}/v1", model="m", max_retries=1, backoff_s=0.0)
    with LlmClient(settings) as client, pytest.raises(LlmUnreachable, match="no connection to"):
        client.chat(HELLO)


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "ftp://x"},
        {"model": " "},
        {"api_key": ""},
        {"timeout_s": 0.0},
        {"max_retries": -1},
        {"temperature": 3.0},
        {"max_tokens": 0},
        {"backoff_s": -1.0},
    ],
)
def test_settings_that_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="llm: wanted"):
        LlmSettings(**({"base_url": "http://x", "model": "m"} | wrong))


def test_no_messages() -> None:
    settings = LlmSettings(base_url="http://127.0.0.1:1/v1", model="m")
    with LlmClient(settings) as client, pytest.raises(InvalidInput, match="at least one message"):
        client.chat([])
