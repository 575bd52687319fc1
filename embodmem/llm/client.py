"""Asks an OpenAI-compatible endpoint: streaming, tool calls, time limits, retries, and errors of embodmem's own types.

The official client speaks the protocol. Retries are made here and not there: an answer that breaks off or is no JSON
must be asked for again, too, and the official client repeats only what failed before the answer began.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    MissingDependency,
)
from embodmem.llm.reading import Answer, ToolCall, read_answer, read_stream

__all__ = ["Answer", "LlmClient", "LlmSettings", "ToolCall"]

Message = Mapping[str, Any]
_AGAIN = (LlmBusy, LlmFailed, LlmUnreachable, LlmBadAnswer)
"""What is worth another try: a timeout used up its time, and a refusal stays one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmSettings:
    """Which model is asked, and with how much patience.

    Attributes:
        base_url: Where the endpoint is, "http://127.0.0.1:8080/v1".
        model: Its name there.
        api_key: What is sent as the bearer token; many local endpoints take anything.
        stream: Ask for the answer piece by piece.
        temperature: Of the model; 0 is the steadiest.
        max_tokens: Longest answer; None leaves that to the endpoint.
        timeout_s: Longest time for one whole answer, seconds.
        max_retries: How often a request is repeated at most.
        backoff_s: Wait before the first repetition, seconds; doubled each time, with jitter.
        max_backoff_s: Longest wait; an endpoint that asks for more is not waited for.

    Raises:
        ConfigError: A value is out of range.
    """

    base_url: str
    model: str
    api_key: str = "none"
    stream: bool = False
    temperature: float = 0.0
    max_tokens: int | None = None
    timeout_s: float = 60.0
    max_retries: int = 4
    backoff_s: float = 0.5
    max_backoff_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")) or not self.model.strip() or not self.api_key:
            raise ConfigError(
                f"llm: wanted a base_url that begins with http:// or https://, a model and an api_key, got "
                f"{self.base_url!r}, {self.model!r} and {'a key' if self.api_key else 'none'}"
            )
        wanted = {
            "timeout_s": 0 < self.timeout_s < 1e6,
            "max_retries": 0 <= self.max_retries <= 20,
            "backoff_s": 0 <= self.backoff_s < 1e6,
            "max_backoff_s": 0 <= self.max_backoff_s < 1e6,
            "temperature": 0 <= self.temperature <= 2,
            "max_tokens": self.max_tokens is None or self.max_tokens >= 1,
        }
        bad = [f"{name}={getattr(self, name)!r}" for name, good in wanted.items() if not good]
        if bad:
            raise ConfigError(f"llm: wanted values in range, got {', '.join(bad)}")


class LlmClient:
    """Asks one model.

    Args:
        settings: Which, and how.
        seed: Of the jitter between repetitions.
        sleep: Waits so many seconds; for tests.

    Raises:
        MissingDependency: The package openai is not installed.
    """

    def __init__(self, settings: LlmSettings, seed: int = 0, sleep: Callable[[float], None] = time.sleep) -> None:
        try:
            import openai
        except ImportError as error:
            raise MissingDependency("openai", "llm", "a language model") from error
        self.settings = settings
        self._openai = openai
        self._rng = np.random.default_rng(seed)
        self._sleep = sleep
        self._client = openai.OpenAI(
            base_url=settings.base_url, api_key=settings.api_key, timeout=settings.timeout_s, max_retries=0
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> LlmClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """The model's answer to a conversation.

        Args:
            messages: {"role": ..., "content": ...}, oldest first.
            tools: What the model may call, each {"type": "function", "function": {...}}.
            on_text: Called with each piece of text as it comes, when streaming; a repetition begins anew.

        Raises:
            LlmError: It could not be asked, or gave no usable answer; the subclass says which.
            InvalidInput: There are no messages.
        """
        if not messages:
            raise InvalidInput("llm: wanted at least one message, got none")
        request: dict[str, Any] = {
            "model": self.settings.model,
            "messages": [dict(message) for message in messages],
            "temperature": self.settings.temperature,
            "stream": self.settings.stream,
        }
        if tools:
            request["tools"] = [dict(tool) for tool in tools]
        if self.settings.max_tokens is not None:
            request["max_tokens"] = self.settings.max_tokens
        for attempt in range(self.settings.max_retries + 1):
            try:
                return self._ask(request, on_text)
            except _AGAIN as error:
                wait = self._wait(attempt, error.retry_after_s)
                if attempt == self.settings.max_retries or wait is None:
                    raise
                self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, attempt: int, asked_s: float | None) -> float | None:
        """Seconds until the next attempt; None when the endpoint asks for more than we wait."""
        if asked_s is not None:
            return asked_s if asked_s <= self.settings.max_backoff_s else None
        longest = min(self.settings.backoff_s * 2.0**attempt, self.settings.max_backoff_s)
        return float(longest * self._rng.uniform(0.5, 1.0))

    def _ask(self, request: Mapping[str, Any], on_text: Callable[[str], None] | None) -> Answer:
        """One attempt, with whatever goes wrong as an error of ours."""
        deadline = time.monotonic() + self.settings.timeout_s
        try:
            reply: Any = self._client.chat.completions.create(**request)
            if not self.settings.stream:
                return read_answer(reply)
            with reply:
                return read_stream(reply, deadline, on_text)
        except LlmError:
            raise
        except self._openai.APITimeoutError as error:
            raise LlmTimeout(f"llm: wanted an answer within {self.settings.timeout_s:g} s, got none") from error
        except self._openai.APIConnectionError as error:
            raise LlmUnreachable(
                f"llm: no connection to {self.settings.base_url}: {error.__cause__ or error}"
            ) from error
        except self._openai.APIStatusError as error:
            raise _refusal(error.status_code, error.message, error.response.headers.get("retry-after")) from error
        except self._openai.OpenAIError as error:
            raise LlmBadAnswer(f"llm: wanted an answer of the protocol, got: {error}") from error
        except json.JSONDecodeError as error:
            raise LlmBadAnswer(f"llm: wanted JSON, got what is none: {error}") from error
        except Exception as error:
            # What the HTTP library below raises while an answer is read does not pass through the official client.
            if type(error).__module__.split(".")[0] not in ("httpx2", "httpcore2", "httpx", "httpcore"):
                raise
            if "Timeout" in type(error).__name__:
                raise LlmTimeout(f"llm: the answer stopped for {self.settings.timeout_s:g} s") from error
            raise LlmUnreachable(f"llm: the answer broke off: {error}") from error


def _refusal(status: int, said: str, retry_after: str | None) -> LlmError:
    """A status code as an error; how long the endpoint asks to wait stands in `retry_after_s`."""
    text = f"llm: the endpoint answered {status}: {said[:300]}"
    if status not in (408, 409, 429) and status < 500:
        return LlmRefused(text)
    error = LlmBusy(text) if status in (408, 409, 429) else LlmFailed(text)
    try:
        seconds = float(retry_after or "")
    except ValueError:  # a date is allowed, too; then our own waiting must do
        return error
    error.retry_after_s = max(seconds, 0.0)
    return error
