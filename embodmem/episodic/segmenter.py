"""Event boundaries by surprise, online and in bounded memory (EM-LLM, Fountas et al., ICLR 2025, section 3)."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.config_episodic import SegmentConfig
from embodmem.episodic.boundaries import best_cut

Vectors = NDArray[np.float32]
_FEW = 5
"""Surprises before which nothing is unusual."""
_LEAST_SIGMA = 1e-3


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where a segment begins.

    Attributes:
        index: How many items were added before its first one.
        why: "surprise", "pause" (a gap of time, or a clock that went back), "length" (the one before was full).
    """

    index: int
    why: str


class Segmenter:
    """Cuts a stream of vectors where what comes is not what the segment lets expect.

    Surprise is 1 - cosine to a running mean of the segment; a boundary is where it exceeds mu + gamma * sigma of the
    surprises in a window before (eq. 2, where a language model's surprise is -log p). A boundary by surprise is moved
    to the best cut between its neighbours as soon as the next one is found, and left out where the two sides hang
    together as one. Two segments are held at most.

    Args:
        config: Thresholds and bounds.
    """

    def __init__(self, config: SegmentConfig) -> None:
        self.config = config
        self.surprises: deque[float] = deque(maxlen=config.window)
        self._vectors: list[Vectors] = []  # from the first item of the open segments on
        self.seen = 0
        self.pending: int | None = None  # a boundary that may still move, as a position in the held vectors
        self._last_ns: int | None = None
        self._context: Vectors | None = None

    @property
    def held(self) -> int:
        """How many items belong to segments that are not closed."""
        return len(self._vectors)

    def add(self, vectors: Vectors, stamps_ns: NDArray[np.int64]) -> list[Boundary]:
        """Take the next items.

        Args:
            vectors: (N, D) of unit norm.
            stamps_ns: (N,) when each was, ns.

        Returns:
            The boundaries that are now certain, in order.
        """
        found: list[Boundary] = []
        for vector, stamp in zip(vectors, stamps_ns.tolist(), strict=True):
            found += self._take(vector, stamp)
        return found

    def _take(self, vector: Vectors, stamp: int) -> list[Boundary]:
        config, found = self.config, list[Boundary]()
        size = self.held - (self.pending or 0)  # of the newest segment
        pause = self._last_ns is not None and not 0 <= stamp - self._last_ns <= config.pause_s * 1e9
        self._last_ns = stamp
        if self.held and pause:
            found += self._settle()
            found.append(self._close(self.held, "pause"))
        elif size >= config.max_events:
            found += self._settle()
            found.append(self._close(self.held, "length"))
        elif self._is_surprise(vector) and size >= config.min_events:
            found += self._settle()
            self.pending = self.held
            self._context = None
        self._vectors.append(vector)
        self.seen += 1
        rate = np.float32(1.0 if self._context is None else config.rate)
        before = vector if self._context is None else self._context
        self._context = before + rate * (vector - before)
        return found

    def _is_surprise(self, vector: Vectors) -> bool:
        """Whether the next item is unexpected; its surprise is noted."""
        if self._context is None:
            return False
        norm = max(float(np.linalg.norm(self._context)), 1e-12)
        surprise = 1.0 - float(vector @ self._context) / norm
        known = np.array(self.surprises)
        self.surprises.append(surprise)
        if len(known) < _FEW:
            return False
        return surprise > float(known.mean()) + self.config.gamma * max(float(known.std()), _LEAST_SIGMA)

    def _settle(self) -> list[Boundary]:
        """Make certain the boundary that could still move: between the start of its segment and now."""
        if self.pending is None:
            return []
        if self.config.refine == "none":
            at, self.pending = self.pending, None
            return [self._close(at, "surprise")]
        least = min(self.config.min_events, self.held // 2)
        cut, gain = best_cut(np.array(self._vectors), max(1, least), self.config.refine)
        self.pending = None
        if gain < self.config.min_modularity and self.held < self.config.max_events:
            return []  # the two sides are one
        return [self._close(cut, "surprise")]

    def _close(self, at: int, why: str) -> Boundary:
        """Let go of the first `at` items that are held, a whole segment."""
        boundary = Boundary(self.seen - self.held + at, why)
        del self._vectors[:at]
        if not self._vectors:
            self._context = None
        return boundary

    def state(self) -> dict[str, Any]:
        """What it goes on from, in plain values, but for the vectors that it holds."""
        context = None if self._context is None else base64.b64encode(self._context.tobytes()).decode()
        return {
            "seen": self.seen,
            "pending": self.pending,
            "last_ns": self._last_ns,
            "surprises": list(self.surprises),
            "context": context,
        }

    def restore(self, state: Mapping[str, Any], vectors: Vectors) -> None:
        """Go on from where `state` was taken; `vectors` (N, D) are those that were held then."""
        self.seen, self.pending, self._last_ns = state["seen"], state["pending"], state["last_ns"]
        self.surprises = deque(state["surprises"], maxlen=self.config.window)
        self._vectors = list(vectors)
        given = state["context"]
        context = None if given is None else np.frombuffer(base64.b64decode(given), np.float32)
        if context is not None and self._vectors and len(context) != len(self._vectors[0]):
            context = self._vectors[-1]  # another encoder made them anew
        self._context = context
