"""`embodmem serve` as a real process, spoken to by the official client over stdio and HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from embodmem.embodied import EmbodiedMemory
from embodmem.types import Query
from tests.embodmem.serve.conftest import NOW_NS
from tests.embodmem.small import command, embodmem, environment

pytest.importorskip("mcp", reason="the extra mcp is not installed")
import httpx2  # noqa: E402
from mcp import Client, StdioServerParameters  # noqa: E402
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

TOKEN = "correct horse battery staple"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and descriptors as POSIX has them")


def over_stdio(path: Path, *options: str) -> Client:
    program, *args = command("serve", path, "--now", NOW_NS, *options)
    return Client(StdioServerParameters(command=program, args=args, env=environment()))


@contextmanager
def served(path: Path, *options: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server over HTTP on a free port, and its address; it must end by SIGTERM with 0 if it still runs."""
    words = command("serve", path, "--http", "--port", 0, *options)
    with subprocess.Popen(words, env=environment() | env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert line.startswith(f"serving {path} at http://127.0.0.1:"), line + process.stderr.read()
            yield process, line.split()[-1]
            if process.poll() is None:
                process.terminate()
                assert process.wait(30) == 0
                assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def told(path: Path) -> list[str]:
    """What the file holds of what was told."""
    with EmbodiedMemory(path, "r") as memory:
        return [item.text for item in memory.episodic.timeline(Query(kinds=("told",)))]


def test_stdio(home: Path) -> None:
    async def main() -> None:
        async with over_stdio(home) as client:
            assert (await client.call_tool("where_is", {"what": "laptop"})).structured_content["known"]
            made = (await client.call_tool("remember", {"text": "the window is open"})).structured_content
            assert made["stamp_ns"] == NOW_NS
            found = (await client.call_tool("what_happened", {"when": "in the last minute"})).structured_content
            assert [item["id"] for item in found["items"]] == [made["id"]]

    asyncio.run(main())
    assert told(home)[-1] == "the window is open"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_a_server_on_stdio(home: Path, number: int, code: int) -> None:
    """The client keeps its end open: a blocked read must not keep the server from ending."""
    pipes: dict[str, Any] = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    with subprocess.Popen(command("serve", home), env=environment(), text=True, **pipes) as process:
        hello = (
            '{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18", '
            '"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}\n'
        )
        process.stdin.write(hello)
        process.stdin.flush()
        assert '"serverInfo"' in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(30) == code
        assert process.stdout.read() == "" and "Traceback" not in process.stderr.read()
    with EmbodiedMemory(home) as memory:  # the lock is free
        assert memory.counts()


def test_http_with_many_clients_at_once(home: Path) -> None:
    async def work(url: str, name: int) -> list[str]:
        made = []
        async with Client(url) as client:
            for i in range(5):
                text = f"note {name} {i}"
                result = await client.call_tool("remember", {"text": text})
                assert not result.is_error, result.content
                made.append(result.structured_content["id"])
                found = (await client.call_tool("recall", {"text": text, "k": 5})).structured_content
                assert text in [item["text"] for item in found["items"]]
        return made

    async def main(url: str) -> list[list[str]]:
        return await asyncio.gather(*(work(url, name) for name in range(4)))

    with served(home) as (_, url):
        made = asyncio.run(main(url))
    assert len({name for names in made for name in names}) == 20
    assert sorted(text for text in told(home) if text.startswith("note")) == sorted(
        f"note {name} {i}" for name in range(4) for i in range(5)
    )


def test_signals_end_a_server_with_clients_connected(home: Path) -> None:
    async def main(process: subprocess.Popen[str], url: str) -> None:
        async with Client(url) as client:
            await client.call_tool("remember", {"text": "last words"})
            process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(process.wait, 30) == 130

    with served(home) as (process, url):
        asyncio.run(main(process, url))
        assert process.stderr.read().strip() == "stopped"
    assert told(home)[-1] == "last words"


def test_nothing_acknowledged_is_lost_by_kill(tmp_path: Path) -> None:
    path = tmp_path / "killed.mem"
    acknowledged: list[str] = []

    async def work(url: str, name: int) -> None:
        try:
            async with Client(url, read_timeout_seconds=10) as client:
                for i in range(10_000):
                    text = f"note {name} {i}"
                    if not (await client.call_tool("remember", {"text": text})).is_error:
                        acknowledged.append(text)
        except Exception:
            return  # the server is dead, as it should be

    async def main(process: subprocess.Popen[str], url: str) -> None:
        async def kill() -> None:
            while len(acknowledged) < 30:
                await asyncio.sleep(0.01)
            process.kill()

        await asyncio.gather(kill(), *(work(url, name) for name in range(3)))

    with served(path) as (process, url):
        asyncio.run(asyncio.wait_for(main(process, url), 120))
        assert process.wait(30) == -signal.SIGKILL
    kept = told(path)
    assert len(acknowledged) >= 30 and set(acknowledged) <= set(kept)
    assert len(kept) == len(set(kept)) <= len(acknowledged) + 3  # each client had one on its way at most


def test_a_memory_in_use_is_an_error_of_one_line(home: Path) -> None:
    with EmbodiedMemory(home):
        done = embodmem("serve", home)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith("error: ") and "open for writing" in done.stderr and done.stderr.count("\n") == 1
        reading = subprocess.run(
            command("serve", home, "--read-only"),
            env=environment(),
            input="",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (reading.returncode, reading.stdout) == (0, "")  # who only reads may come in; this client left at once


def test_tokens_and_foreign_hosts(home: Path, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")

    async def with_token(url: str) -> None:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            assert (await client.call_tool("where_is", {"what": "laptop"})).structured_content["known"]

    hello = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = {"Accept": "application/json, text/event-stream"}
    with served(home, "--token-file", str(secret), "--allow-host", "robot.local") as (_, url):
        asyncio.run(with_token(url))
        good = {"Authorization": f"Bearer {TOKEN}"}
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            answer = httpx2.post(url, json=hello, headers=accept | headers)
            assert answer.status_code == 401 and "Bearer" in answer.headers["www-authenticate"]
        for headers, code in (
            ({"Host": "evil.example"}, 421),
            ({"Origin": "http://evil.example"}, 403),
            ({"Host": "127.0.0.1.evil.example:80"}, 421),
        ):
            assert httpx2.post(url, json=hello, headers=accept | good | headers).status_code == code
        friendly = httpx2.post(url, json=hello, headers=accept | good | {"Host": "robot.local:8765"})
        assert friendly.status_code not in (401, 403, 421)


@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        (("--http", "--host", "0.0.0.0"), {}, "wanted a token"),
        (("--http",), {"EMBODMEM_TOKEN": "short"}, "at least 16 ASCII characters, got 5"),
        (("--http", "--token-file", "nowhere"), {}, "wanted a file that holds a token"),
        (("--port", "9000"), {}, "wanted --http"),
        (("--http", "--port", "70000"), {}, "0 to 65535"),
        (("--zone", "Mars/Olympus"), {}, "wanted a time zone"),
        (("--now", "-5"), {}, "--now"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, options: tuple[str, ...], env: dict[str, str], said: str) -> None:
    done = embodmem("serve", tmp_path / "x.mem", *options, **env)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and said in done.stderr, done.stderr
    assert not (tmp_path / "x.mem").exists()


def test_a_port_that_is_taken(home: Path, tmp_path: Path) -> None:
    with served(home) as (_, url):
        port = url.split(":")[2].split("/")[0]
        done = embodmem("serve", tmp_path / "other.mem", "--http", "--port", port)
        assert done.returncode == 1 and f"could not listen on 127.0.0.1, port {port}" in done.stderr


def test_clock_times_are_those_of_the_zone_and_the_wall_clock_is_the_stamp(tmp_path: Path) -> None:
    path = tmp_path / "now.mem"

    async def main() -> int:
        async with Client(StdioServerParameters(command=words[0], args=words[1:], env=environment())) as client:
            made = (await client.call_tool("remember", {"text": "now"})).structured_content
            assert (await client.call_tool("what_happened", {"when": "today"})).structured_content["known"]
            return int(made["stamp_ns"])

    words = command("serve", path, "--zone", "Asia/Tokyo")
    before = time.time_ns()
    stamp_ns = asyncio.run(main())
    assert before <= stamp_ns <= time.time_ns()
