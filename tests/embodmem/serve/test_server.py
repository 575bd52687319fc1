"""The protocol: schemas, structured answers, errors and resources, with the official client in this process."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from embodmem.embodied import EmbodiedMemory
from tests.embodmem.serve.conftest import NOW_NS
from tests.embodmem.small import look

pytest.importorskip("mcp", reason="the extra mcp is not installed")
import jsonschema  # noqa: E402
from mcp import Client, MCPError  # noqa: E402

from embodmem.serve import Answered, Corrected, Forgotten, Remembered, Service  # noqa: E402
from embodmem.serve.server import make_server  # noqa: E402

READERS = {"recall", "ask", "where_is", "what_happened"}
WRITERS = {"remember", "correct", "forget"}


def talk(path: Path | None, script: Callable[[Client], Awaitable[Any]], *, read_only: bool = False) -> Any:
    """Run a script of a client against a server over a memory."""

    async def main() -> Any:
        with EmbodiedMemory(path, "r" if read_only else "a") as memory:
            server = make_server(Service(memory, lambda: NOW_NS), read_only=read_only)
            async with Client(server) as client:
                return await script(client)

    return asyncio.run(main())


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    """The message of a call that must fail as an error of the tool."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    return str(result.content[0].text)  # type: ignore[union-attr]


def test_tools_have_schemas_and_say_what_they_do(home: Path) -> None:
    async def script(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == READERS | WRITERS
        assert client.server_info is not None and client.server_info.name == "embodmem"
        assert client.instructions and "not known" in client.instructions
        for name, tool in tools.items():
            assert tool.description and tool.title and tool.annotations is not None
            assert tool.annotations.read_only_hint == (name in READERS)
            assert tool.annotations.destructive_hint == (name == "forget")
            assert tool.input_schema["additionalProperties"] is False
            for schema in (tool.input_schema, tool.output_schema):
                jsonschema.Draft202012Validator.check_schema(schema)
            assert all(
                "description" in given or given["type"] == "number"
                for given in tool.input_schema["properties"].values()
            )

    talk(home, script)


def test_answers_are_structured_and_fit_their_schemas(home: Path) -> None:
    calls: list[tuple[str, dict[str, Any], type]] = [
        ("recall", {"text": "mug", "k": 3, "kinds": ["object"]}, Answered),
        ("ask", {"question": "how many mugs are there?"}, Answered),
        ("where_is", {"what": "the laptop"}, Answered),
        ("where_is", {"what": "the piano"}, Answered),
        ("what_happened", {"when": "this morning"}, Answered),
        ("remember", {"text": "the passport is in the suitcase", "about": ["passport"]}, Remembered),
        ("correct", {"subject": "laptop", "relation": "owned by", "object": "Anna"}, Corrected),
        ("forget", {"labels": ["passport"]}, Forgotten),
    ]

    async def script(client: Client) -> list[Any]:
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        said = []
        for tool, arguments, shape in calls:
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, result.content
            jsonschema.validate(result.structured_content, schemas[tool])
            said.append(shape.model_validate(result.structured_content))
            assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
        return said

    mugs, many, laptop, piano, morning, told, owned, gone = talk(home, script)
    assert [item.label for item in mugs.items[:2]] == ["mug", "mug"]  # then what a mug stands on
    assert many.answer.startswith("2 mugs") and laptop.known and not piano.known
    assert "began the first tour" in [item.text for item in morning.items]
    assert told.text in gone.model_dump_json() or gone.by_kind["event"] == 1
    assert owned.holds[-1].text == "laptop is owned by Anna"


def test_mistakes_are_errors_of_the_tool_that_say_what_was_wanted(home: Path) -> None:
    async def script(client: Client) -> None:
        assert "k: input should be greater than or equal to 1, got 0" in await refused(client, "recall", text="x", k=0)
        assert "near" in await refused(client, "recall", text="x", near=[1.0, 2.0])
        assert "text: field required" in await refused(client, "remember")
        assert "wanted words, got ''" in await refused(client, "remember", text="")
        assert "at most 20000 characters, got 20001" in await refused(client, "remember", text="x" * 20_001)
        message = await refused(client, "remember", text="x", foo=1, bar=2)
        assert message == "remember: wanted arguments of about, source, text; got bar, foo"
        assert "wanted a time in words" in await refused(client, "what_happened", when="blah")
        assert "2 bear this name" in await refused(client, "correct", subject="mug", relation="on", object="shelf")
        assert "at least one of labels" in await refused(client, "forget")
        assert "kind:number" in await refused(client, "forget", ids=["what"])
        assert "nope" in await refused(client, "nope")
        assert (await client.call_tool("where_is", {"what": "laptop"})).structured_content["known"]  # it goes on

    talk(home, script)


def test_what_breaks_inside_is_not_told_to_the_client(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Service, question: str, *, k: int = 10) -> Answered:
        raise RuntimeError("secret inner state")

    monkeypatch.setattr(Service, "ask", broken)

    async def script(client: Client) -> None:
        assert await refused(client, "ask", question="where is the mug?") == "Error executing tool ask"

    talk(home, script)


def test_read_only_has_no_tools_that_write(home: Path) -> None:
    async def script(client: Client) -> None:
        assert {tool.name for tool in (await client.list_tools()).tools} == READERS
        assert "remember" in await refused(client, "remember", text="x")
        assert (await client.call_tool("where_is", {"what": "laptop"})).structured_content["known"]

    talk(home, script, read_only=True)


def test_resources(home: Path) -> None:
    async def script(client: Client) -> None:
        async def read(uri: str) -> Any:
            (content,) = (await client.read_resource(uri)).contents
            assert content.mime_type == "application/json"
            return json.loads(content.text)  # type: ignore[union-attr]

        listed = {str(resource.uri) for resource in (await client.list_resources()).resources}
        assert listed == {"embodmem://objects", "embodmem://rooms", "embodmem://events/recent", "embodmem://info"}
        templates = {t.uri_template for t in (await client.list_resource_templates()).resource_templates}
        assert templates == {"embodmem://record/{id}", "embodmem://keyframe/{id}/image"}
        objects = await read("embodmem://objects")
        assert {"mug", "laptop", "shelf"} <= {item["label"] for item in objects}
        assert {room["label"] for room in await read("embodmem://rooms")} == {"kitchen", "bedroom"}
        assert (await read("embodmem://events/recent"))[0]["text"] == "went to the bedroom"
        assert await read(f"embodmem://record/{objects[0]['id']}") == objects[0]
        assert (await read("embodmem://info"))["records"]["room"] == 2
        for uri in ("embodmem://record/object:99999", "embodmem://record/what", "embodmem://keyframe/keyframe:1/image"):
            with pytest.raises(MCPError, match="wanted"):
                await client.read_resource(uri)

    talk(home, script)


def test_the_picture_of_a_keyframe(tmp_path: Path) -> None:
    path = tmp_path / "seen.mem"
    with EmbodiedMemory(path) as memory:
        memory.write(look(0))
        (frame,) = memory.episodic.timeline()
        jpeg = memory.episodic.get_keyframe(frame.id).jpeg

    async def script(client: Client) -> None:
        (content,) = (await client.read_resource(f"embodmem://keyframe/{frame.id}/image")).contents
        assert content.mime_type == "image/jpeg"
        assert base64.b64decode(content.blob) == jpeg  # type: ignore[union-attr]

    talk(path, script)
