"""Reads what an endpoint answers, whole or piece by piece, and takes nothing for granted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from embodmem.errors import LlmBadAnswer, LlmTimeout


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model wants made.

    Attributes:
        id: What an answer to it must bear.
        name: Of the tool.
        arguments: As the model wrote them: JSON, if it did well.
    """

    id: str
    name: str
    arguments: str

    def values(self) -> dict[str, Any]:
        """The arguments.

        Raises:
            LlmBadAnswer: They are no JSON object.
        """
        try:
            values = json.loads(self.arguments or "{}")
        except json.JSONDecodeError as error:
            raise LlmBadAnswer(f"{self.name}: wanted arguments as JSON, got {self.arguments[:200]!r}") from error
        if not isinstance(values, dict):
            raise LlmBadAnswer(f"{self.name}: wanted arguments as a JSON object, got {self.arguments[:200]!r}")
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model said.

    Attributes:
        text: Its words.
        calls: The tools that it calls.
        finish: Why it stopped: "stop", "tool_calls", "length", ...
        tokens: Tokens of question and answer, where the endpoint tells.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    finish: str = ""
    tokens: int | None = None


def read_answer(reply: Any) -> Answer:
    """A whole answer.

    Raises:
        LlmBadAnswer: It is none, or lacks what the protocol wants.
    """
    choices = getattr(reply, "choices", None)
    if not choices or getattr(choices[0], "message", None) is None:
        raise LlmBadAnswer(f"llm: wanted an answer with choices[0].message, got {_short(reply)}")
    message = choices[0].message
    calls = []
    for call in message.tool_calls or ():
        function = getattr(call, "function", None)
        if function is None or not function.name:
            raise LlmBadAnswer(f"llm: wanted tool calls of functions, got {_short(call)}")
        calls.append(ToolCall(call.id or "", function.name, function.arguments or ""))
    usage = getattr(reply, "usage", None)
    return Answer(
        text=message.content or "",
        calls=tuple(calls),
        finish=choices[0].finish_reason or "",
        tokens=None if usage is None else usage.total_tokens,
    )


def read_stream(pieces: Iterable[Any], deadline: float, on_text: Callable[[str], None] | None) -> Answer:
    """An answer that comes piece by piece.

    Args:
        pieces: The pieces.
        deadline: When it must be whole, on the monotonic clock, seconds: a time limit for each piece alone would let
            a drip go on for ever.
        on_text: Called with each piece of text.

    Raises:
        LlmBadAnswer: It ends before the model said that it is done.
        LlmTimeout: It is not whole at the deadline.
    """
    text: list[str] = []
    calls: dict[int, list[str]] = {}
    finish, tokens = "", None
    for piece in pieces:
        if time.monotonic() > deadline:
            raise LlmTimeout("llm: wanted a whole answer in time, got a part of it")
        tokens = piece.usage.total_tokens if getattr(piece, "usage", None) is not None else tokens
        choice = next(iter(getattr(piece, "choices", None) or ()), None)
        if choice is None:
            continue
        finish = choice.finish_reason or finish
        if choice.delta is not None and choice.delta.content:
            text.append(choice.delta.content)
            if on_text is not None:
                on_text(choice.delta.content)
        for part in (choice.delta.tool_calls if choice.delta is not None else None) or ():
            call = calls.setdefault(part.index, ["", "", ""])
            call[0] = part.id or call[0]
            if part.function is not None:
                call[1] += part.function.name or ""
                call[2] += part.function.arguments or ""
    if not finish:
        raise LlmBadAnswer("llm: the answer broke off: its last piece names no finish_reason")
    made = tuple(ToolCall(*calls[index]) for index in sorted(calls))
    return Answer(text="".join(text), calls=made, finish=finish, tokens=tokens)


def _short(value: Any) -> str:
    return repr(value)[:200]
