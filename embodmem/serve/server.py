"""The MCP server around a memory: its tools and resources, and how errors reach the client."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import ToolAnnotations
from pydantic import Field, ValidationError

from embodmem.errors import EmbodmemError, InvalidInput
from embodmem.serve.service import Service
from embodmem.serve.shapes import Answered, Corrected, Forgotten, Remembered

_R = TypeVar("_R")
Names = list[str] | None

INSTRUCTIONS = (
    "One memory of an agent with a body: objects and rooms with their places in metres, what was seen and done, what "
    "was told, and facts with their history. It answers from evidence; 'not known' is an answer. Times may be given in "
    "words ('this morning', 'since 10:15', 'in the last 2 hours'). `forget` cannot be undone."
)

What = Annotated[str, Field(description="A thing, in words: 'the mug', 'the red cup in the kitchen'.")]
When = Annotated[str | None, Field(description="A time in words: 'yesterday', 'since 10:15', 'before the tour'.")]
Span = Annotated[str | None, Field(description="A time in words: 'yesterday', 'since 10:15', 'in the last hour'.")]
Count = Annotated[int, Field(ge=1, le=1000, description="At most so many.")]
Labels = Annotated[Names, Field(description="Only what bears one of these labels.")]
Kinds = Annotated[Names, Field(description="Only these kinds: object, room, keyframe, event, fact, item, told, ...")]
Source = Annotated[str, Field(description="Who says so.")]
Point = Annotated[
    list[float] | None, Field(min_length=3, max_length=3, description="A point x, y, z in metres, world, z up.")
]


class StrictTool(Tool):
    """A tool that refuses arguments it does not have, and tells what went wrong in the words of the library."""

    async def run(self, arguments: dict[str, Any], context: Any, convert_result: bool = False) -> Any:
        """Run it; see the base class."""
        known = set(self.parameters.get("properties", {}))
        unknown = sorted(set(arguments) - known)
        if unknown:
            raise ToolError(f"{self.name}: wanted arguments of {', '.join(sorted(known))}; got {', '.join(unknown)}")
        try:
            return await super().run(arguments, context, convert_result)
        except UnexpectedToolError as error:
            if isinstance(error.__cause__, EmbodmemError):
                raise ToolError(str(error.__cause__)) from error.__cause__
            raise
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ToolError(f"{self.name}: {_refused(error.__cause__)}") from error.__cause__
            raise


def _refused(error: ValidationError) -> str:
    """What was wanted and what came, an argument at a time."""
    parts = []
    for detail in error.errors(include_url=False):
        name = ".".join(str(part) for part in detail["loc"])
        came = "" if detail["type"] == "missing" else f", got {detail['input']!r}"
        parts.append(f"{name}: {detail['msg'][0].lower()}{detail['msg'][1:]}{came}")
    return "; ".join(parts)


def make_server(service: Service, *, read_only: bool = False) -> MCPServer[Any]:
    """An MCP server over a service; `read_only` leaves out the tools that write."""
    tools = [*_readers(service), *([] if read_only else _writers(service))]
    server: MCPServer[Any] = MCPServer(
        "embodmem",
        title="embodmem",
        instructions=INSTRUCTIONS,
        version=_version(),
        tools=tools,
        log_level="WARNING",
    )
    _add_resources(server, service)
    return server


def _version() -> str:
    try:
        return version("embodmem")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return ""


def _tool(fn: Callable[..., Any], title: str, *, writes: bool = False, destroys: bool = False) -> Tool:
    hints = ToolAnnotations(title=title, read_only_hint=not writes, destructive_hint=destroys, open_world_hint=False)
    tool = StrictTool.from_function(
        fn, title=title, description=inspect.cleandoc(fn.__doc__ or ""), annotations=hints, structured_output=True
    )
    tool.parameters["additionalProperties"] = False
    return tool


def _readers(service: Service) -> list[Tool]:
    def recall(
        text: Annotated[str, Field(description="Words to rank by; '' ranks by time alone.")],
        k: Count = 10,
        kinds: Kinds = None,
        labels: Labels = None,
        agent: Annotated[str | None, Field(description="Only what this agent saw or did.")] = None,
        when: Span = None,
        near: Point = None,
        radius_m: Annotated[float | None, Field(ge=0, description="Only within so many metres of `near`.")] = None,
    ) -> Answered:
        """Find what the memory holds by words, kind, label, time and place. Every filter applies before ranking."""
        return service.recall(
            text,
            k=k,
            kinds=kinds or (),
            labels=labels or (),
            agent=agent,
            when=when,
            near=near,
            radius_m=radius_m,
        )

    def ask(
        question: Annotated[str, Field(description="'how many mugs are in the kitchen?'")], k: Count = 10
    ) -> Answered:
        """Answer a question in English: where, when, what, who, how many, how often, did you, is there."""
        return service.ask(question, k=k)

    def where_is(what: What, when: When = None, k: Count = 10) -> Answered:
        """Say where a thing is now, or where it was at a time, from what was seen, done and told."""
        return service.where_is(what, when=when, k=k)

    def what_happened(
        when: When = None,
        about: Annotated[str | None, Field(description="Only what concerns this thing.")] = None,
        k: Count = 20,
    ) -> Answered:
        """List what was done, noticed and told in a time, or about a thing, or lately."""
        return service.what_happened(when, about=about, k=k)

    return [
        _tool(recall, "Recall"),
        _tool(ask, "Ask"),
        _tool(where_is, "Where is it?"),
        _tool(what_happened, "What happened?"),
    ]


def _writers(service: Service) -> list[Tool]:
    def remember(
        text: Annotated[str, Field(description="What to keep, as a sentence.")],
        about: Annotated[Names, Field(description="Labels of the things that it is about.")] = None,
        source: Source = "user",
    ) -> Remembered:
        """Write down what was told. It is on disk when this returns."""
        return service.remember(text, about=about or (), source=source)

    def correct(
        subject: Annotated[str, Field(description="A thing by its name, or by its id (object:3).")],
        relation: Annotated[str, Field(description="'on', 'in', 'held by', 'owned by', ...")],
        object: Annotated[str | None, Field(description="What it is related to; none: the relation ended.")] = None,
        when: Annotated[str | None, Field(description="Since when, in words; none is now.")] = None,
        source: Source = "user",
        confidence: Annotated[float, Field(ge=0, le=1)] = 1.0,
    ) -> Corrected:
        """State a fact, or end one. What was believed before stays in the history; the memory learns it now."""
        return service.correct(subject, relation, object, when=when, source=source, confidence=confidence)

    def forget(
        labels: Labels = None,
        ids: Annotated[Names, Field(description="Only these ids: 'event:12'.")] = None,
        kinds: Kinds = None,
        text: Annotated[str | None, Field(description="Only what holds all of these words.")] = None,
    ) -> Forgotten:
        """Remove all that matches every filter given, from the memory and from the disk. It cannot be undone."""
        return service.forget(labels=labels or (), ids=ids or (), kinds=kinds or (), text=text)

    return [
        _tool(remember, "Remember", writes=True),
        _tool(correct, "Correct", writes=True),
        _tool(forget, "Forget", writes=True, destroys=True),
    ]


def _add_resources(server: MCPServer[Any], service: Service) -> None:
    json = "application/json"

    def add(uri: str, name: str, description: str, fn: Callable[..., Any], mime_type: str = json) -> None:
        server.resource(uri, name=name, description=description, mime_type=mime_type)(_clean(fn))

    def record(id: str) -> Any:
        return service.record(id)

    def picture(id: str) -> bytes:
        return service.image(id)

    add("embodmem://objects", "objects", "All objects with their places.", service.objects)
    add("embodmem://rooms", "rooms", "All rooms.", service.rooms)
    add("embodmem://events/recent", "recent events", "The latest 50 events, newest first.", lambda: service.recent())
    add("embodmem://info", "info", "What the memory holds, in figures.", service.memory.info)
    add("embodmem://record/{id}", "record", "One record by its id, such as object:3.", record)
    add("embodmem://keyframe/{id}/image", "picture", "The picture of a keyframe.", picture, "image/jpeg")


def _clean(fn: Callable[..., _R]) -> Callable[..., _R]:
    """Errors of the library as errors of a resource."""

    @wraps(fn)
    def read(**values: Any) -> _R:
        try:
            return fn(**values)
        except InvalidInput as error:
            raise ResourceNotFoundError(str(error)) from error
        except EmbodmemError as error:
            raise ResourceError(str(error)) from error

    return read
