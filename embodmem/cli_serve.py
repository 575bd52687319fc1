"""The command that offers a memory to MCP clients; `embodmem.cli` takes it in."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timezone, tzinfo
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from embodmem.embodied import EmbodiedMemory
from embodmem.errors import ConfigError, MissingDependency
from embodmem.types import check_stamp

__all__ = ["serve"]

INTERRUPTED = 130
_HOST, _PORT = "127.0.0.1", 8765


def serve(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The memory's file; made where there is none.")],
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP instead of standard input and output.")] = False,
    host: Annotated[str, typer.Option("--host", help="With --http: where to listen.")] = _HOST,
    port: Annotated[int, typer.Option("--port", help="With --http: on which port; 0 takes a free one.")] = _PORT,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="With --http: a further name of this machine; repeatable.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="With --http: file of the token that clients must send.")
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Only read; works while another process fills the memory.")
    ] = False,
    zone: Annotated[str, typer.Option("--zone", help="Time zone of clock times, such as Europe/Berlin.")] = "UTC",
    now: Annotated[
        int | None, typer.Option("--now", help="A fixed moment as Unix time in ns instead of the clock, for tests.")
    ] = None,
) -> None:
    """Offer a memory to MCP clients: recall, where_is, what_happened, remember, correct, forget (extra mcp)."""
    if find_spec("mcp") is None:
        raise MissingDependency("mcp", "mcp", "embodmem serve")
    from embodmem.serve.server import make_server
    from embodmem.serve.service import Service
    from embodmem.serve.transports import HttpSettings, run_http, run_stdio

    if not http and (host, port, allow_host, token_file) != (_HOST, _PORT, None, None):
        raise ConfigError("--host, --port, --allow-host and --token-file: wanted --http with them, got none")
    settings = HttpSettings()
    if http:
        settings = HttpSettings(host=host, port=port, token=_token(token_file), allow_hosts=tuple(allow_host or ()))
    fixed, here = None if now is None else check_stamp(now, "--now"), _zone(zone)
    with EmbodiedMemory(file, "r" if read_only else "a") as memory:
        service = Service(memory, time.time_ns if fixed is None else lambda: fixed, here)
        server = make_server(service, read_only=read_only)
        if http:
            came = run_http(
                server, settings, lambda url: print(f"serving {file} at {url}", file=sys.stderr, flush=True)
            )
        else:
            came = run_stdio(server)
    if came == signal.SIGINT:
        raise typer.Exit(INTERRUPTED)


def _token(file: Path | None) -> str | None:
    """What clients must send; never an argument of the command, which other users of the machine can see."""
    if file is None:
        return os.environ.get("EMBODMEM_TOKEN") or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file: wanted a file that holds a token, got {file}: {error}") from error


def _zone(name: str) -> tzinfo:
    if name.upper() == "UTC":
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(f"--zone: wanted a time zone such as Europe/Berlin, got {name!r}") from error
