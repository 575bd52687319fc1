"""Every error that embodmem raises on purpose. Each message says what was wanted and what came."""

from __future__ import annotations


class EmbodmemError(Exception):
    """The base of all of them: ``except EmbodmemError`` catches what the library raises on purpose."""


class InvalidInput(EmbodmemError, ValueError):
    """A value from outside is not what was asked for (shape, unit, range, name)."""


class PoseError(InvalidInput):
    """A pose is missing, is no 4x4 rigid transform, or its rotation is off by more than 1e-3."""


class DepthError(InvalidInput):
    """A depth image holds NaN, infinity or negative values, or has another size than its camera."""


class StampError(InvalidInput):
    """Time went backwards for one agent."""


class ConfigError(InvalidInput):
    """A configuration key or value is not known."""


class DatasetError(InvalidInput):
    """A recording cannot be read: a file is missing, truncated or of another form."""


class CapacityError(EmbodmemError):
    """Something of a size that was set is full, and refuses more rather than be wrong."""


class StoreError(EmbodmemError):
    """The memory's file cannot be used as asked."""


class NotAMemory(StoreError):
    """The file is no embodmem memory."""


class DamagedMemory(StoreError):
    """The file is an embodmem memory, but its content is damaged."""


class NewerMemory(StoreError):
    """The file was written by a newer version of embodmem."""


class MemoryInUse(StoreError):
    """Another process has this memory open for writing."""


class ReadOnlyMemory(StoreError):
    """A write was asked of a memory that is open for reading."""


class LlmError(EmbodmemError):
    """A language model could not be asked, or gave no usable answer.

    Attributes:
        retry_after_s: How long the endpoint asks to wait, seconds, where it does.
    """

    retry_after_s: float | None = None


class LlmRefused(LlmError):
    """The endpoint refuses the request: the key, the model's name or the request itself is wrong."""


class LlmBusy(LlmError):
    """The endpoint asks to come back later (429), and did so at every retry."""


class LlmFailed(LlmError):
    """The endpoint failed by itself (5xx) at every retry."""


class LlmUnreachable(LlmError):
    """There is no connection to the endpoint, or it broke at every retry."""


class LlmTimeout(LlmError):
    """No whole answer came in time."""


class LlmBadAnswer(LlmError):
    """What came is no answer of the protocol, or not what was asked for."""


class MissingDependency(EmbodmemError, ImportError):
    """An optional package is not installed; the message holds the pip line."""

    def __init__(self, package: str, extra: str, why: str) -> None:
        super().__init__(f'{why} needs {package}, which is not installed: pip install "embodmem[{extra}]"')
        self.package = package
        self.extra = extra
