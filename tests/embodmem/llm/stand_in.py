"""A local HTTP server that speaks the protocol of OpenAI's chat completions, and misbehaves where it is told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each POST with the next reply of the script; its last one again and again."""

    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.server.requests.append((self.path, headers, body))
            reply = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        reply(self)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def give(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class StandIn(ThreadingHTTPServer):
    """The server, with the requests that it got."""

    daemon_threads = True

    def __init__(self, script: list[Reply]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = list(script)
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no error here."""


@contextmanager
def stand_in(*script: Reply) -> Iterator[StandIn]:
    server = StandIn(list(script))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def calls_of(*calls: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(calls)
    ]


def completion(text: str | None = None, *calls: tuple[str, str]) -> Reply:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = calls_of(*calls)
    finish = "tool_calls" if calls else "stop"
    whole = {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 1,
        "model": "stand-in",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
    return lambda handler: handler.give(200, json.dumps(whole).encode())


def status(code: int, text: str = "no", **headers: str) -> Reply:
    body = json.dumps({"error": {"message": text, "type": "test"}}).encode()
    return lambda handler: handler.give(code, body, **headers)


def raw(body: bytes, kind: str = "application/json") -> Reply:
    return lambda handler: handler.give(200, body, kind)


def piece(finish: str | None = None, **delta: Any) -> bytes:
    chunk = {
        "id": "chat-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "stand-in",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def stream(*pieces: bytes, cut: bool = False, pause_s: float = 0.0) -> Reply:
    """Server-sent events; `cut` ends the connection in the middle of the chunked body."""

    def reply(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for data in pieces:
            handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            handler.wfile.flush()
            time.sleep(pause_s)
        if not cut:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    return reply


def hang(seconds: float) -> Reply:
    return lambda handler: time.sleep(seconds)


def drop() -> Reply:
    """Close the connection without a word."""

    def reply(handler: Handler) -> None:
        handler.close_connection = True
        handler.connection.close()

    return reply
