"""Runs the server over standard input and output, or over HTTP, until it is told to stop."""

from __future__ import annotations

import contextlib
import hmac
import io
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from embodmem.errors import ConfigError, EmbodmemError

__all__ = ["HttpSettings", "run_http", "run_stdio"]

PATH = "/mcp"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN_MIN = 16
"""Fewest characters of a token."""
GRACE_S = 3
"""How long open requests may take after the server was told to stop."""


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """While inside, SIGINT and SIGTERM call `stop`; yields the list of those that came."""
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        came.append(number)
        stop()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Input(io.RawIOBase):
    """Standard input that ends when the client closes it or `stop` is called, whichever comes first.

    A thread that is blocked in a read of descriptor 0 cannot be stopped, and the process would hang with it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._wake, self._waker = os.pipe()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        ready, _, _ = select.select([self._descriptor, self._wake], [], [])
        if self._wake in ready:
            return 0
        data = os.read(self._descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def stop(self) -> None:
        os.write(self._waker, b".")


def run_stdio(server: MCPServer[Any]) -> int:
    """Serve one client over standard input and output; returns the signal that ended it, 0 where the client left."""
    raw = _Input(sys.stdin.fileno())
    original = sys.stdin
    # The transport takes what it reads from `sys.stdin.buffer`; descriptor 1 it diverts by itself, so that a stray
    # print goes to standard error.
    sys.stdin = io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8")
    try:
        with _signals(raw.stop) as came:
            anyio.run(server.run_stdio_async)
    finally:
        sys.stdin = original
    return came[0] if came else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Where the server listens, and who may speak to it.

    Attributes:
        host: Name or address to bind.
        port: Port; 0 takes a free one.
        token: What clients must send as `Authorization: Bearer TOKEN`; None asks for none.
        allow_hosts: Further names by which clients reach it (their Host header, without the port).

    Raises:
        ConfigError: Others could reach it without a token, or the token is short.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    allow_hosts: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.token is not None and (len(self.token) < TOKEN_MIN or not self.token.isascii()):
            raise ConfigError(f"token: wanted at least {TOKEN_MIN} ASCII characters, got {len(self.token)}")
        if self.host not in LOOPBACK and self.token is None:
            raise ConfigError(
                f"host: {self.host} can be reached by others; wanted a token (--token-file or EMBODMEM_TOKEN), got none"
            )
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port: wanted 0 to 65535, got {self.port}")

    @property
    def security(self) -> TransportSecuritySettings:
        """Which Host and Origin headers are accepted: a page in a browser cannot reach the server by rebinding DNS."""
        names = [name if ":" not in name else f"[{name}]" for name in (*LOOPBACK, self.host, *self.allow_hosts)]
        hosts = [form for name in dict.fromkeys(names) for form in (name, f"{name}:*")]
        origins = [f"{scheme}://{name}" for scheme in ("http", "https") for name in hosts]
        return TransportSecuritySettings(
            enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=origins
        )


class _BearerToken:
    """ASGI middleware: 401 for a request without the token."""

    def __init__(self, app: Any, token: str) -> None:
        self.app, self._wanted = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        given = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["type"] != "http" or hmac.compare_digest(given, self._wanted):
            await self.app(scope, receive, send)
            return
        body = b'{"error": "wanted the header Authorization: Bearer TOKEN with the token of this server"}'
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"www-authenticate", b'Bearer realm="embodmem"'),
        ]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers, which would end the process before the memory is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run_http(server: MCPServer[Any], settings: HttpSettings, ready: Callable[[str], None]) -> int:
    """Serve any number of clients over streamable HTTP; returns the signal that ended it.

    Args:
        server: What is served.
        settings: Where, and to whom.
        ready: Called with the address once it listens.

    Raises:
        EmbodmemError: The address cannot be listened on.
    """
    app: Any = server.streamable_http_app(
        streamable_http_path=PATH, host=settings.host, transport_security=settings.security
    )
    if settings.token is not None:
        app = _BearerToken(app, settings.token)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except OSError as error:
        raise EmbodmemError(f"could not listen on {settings.host}, port {settings.port}: {error}") from error
    with listener:
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S)
        runner = _Server(config)
        shown = f"[{settings.host}]" if family == socket.AF_INET6 else settings.host
        ready(f"http://{shown}:{listener.getsockname()[1]}{PATH}")
        with _signals(lambda: setattr(runner, "should_exit", True)) as came:
            anyio.run(lambda: runner.serve(sockets=[listener]))
    return came[0] if came else 0
