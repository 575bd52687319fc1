"""What is looked for in a memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.checks import check_between, check_point, check_stamp, check_texts, check_unit_vector
from embodmem.errors import InvalidInput


def _set(obj: object, name: str, value: Any) -> None:
    """Assign in ``__post_init__`` of a frozen dataclass."""
    object.__setattr__(obj, name, value)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Query:
    """What is looked for; a field left None (or empty) is open. All filters apply before the k best are chosen.

    Attributes:
        text: Words to rank by.
        embedding: (D,) float32 vector to rank by.
        embedding_model: Whose vector that is; "" for the encoder of the memory. Another one's is held against the
            vectors of that model alone, with which events were written.
        near: (3,) point in the world, metres; ranks by nearness, and filters when `radius_m` is given.
        radius_m: Keep what lies within this distance of `near`.
        within: (2, 3) lower and upper corner of a box in the world, metres; keep what touches it.
        around_ns: A moment, ns; what is near it in time ranks higher, and nothing is left out for it.
        between_ns: (from, until), either None; keep what was there in that time, ends included.
        kinds: Keep these kinds ("object", "keyframe", "event", "fact", or an event's own kind).
        labels: Keep what bears one of these labels.
        agent: Keep what this agent saw or did.
        ids: Keep these ids.
        sources: Keep what one of these sources says (an event's `source`, and the facts that rest on it).
        place: Keep what is or was in the room of this name.
        action: Keep events of this action, in any case of letters.
        modality: Keep events that came this way ("speech"), in any case of letters.
        as_of_ns: Keep what this memory knew at that time, ns: what had happened, and the facts that were believed then.
        min_gap_s: Answers are at least so far apart in time, seconds.
        diversity: 0..1, how much answers that say the same make way for others (Carbonell and Goldstein, SIGIR 1998).
    """

    text: str | None = None
    embedding: NDArray[np.float32] | None = None
    embedding_model: str = ""
    near: NDArray[np.float64] | None = None
    radius_m: float | None = None
    within: NDArray[np.float64] | None = None
    around_ns: int | None = None
    between_ns: tuple[int | None, int | None] | None = None
    kinds: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    agent: str | None = None
    ids: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    place: str | None = None
    action: str | None = None
    modality: str | None = None
    as_of_ns: int | None = None
    min_gap_s: float = 0.0
    diversity: float = 0.0

    def __post_init__(self) -> None:
        for name in ("kinds", "labels", "ids", "sources"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise InvalidInput(f"query: wanted {name} as a tuple of strings, got the string {value!r}")
            check_texts(f"query: {name}", *value)
        check_texts("query", "" if self.text is None else self.text, "" if self.agent is None else self.agent)
        check_texts("query: place", "" if self.place is None else self.place)
        check_texts("query", *(text for text in (self.action, self.modality) if text is not None), self.embedding_model)
        if self.as_of_ns is not None:
            _set(self, "as_of_ns", check_stamp(self.as_of_ns, "query: as_of_ns"))
        if self.around_ns is not None:
            _set(self, "around_ns", check_stamp(self.around_ns, "query: around_ns"))
        if not (0.0 <= self.min_gap_s < 1e10 and 0.0 <= self.diversity <= 1.0):
            raise InvalidInput(
                f"query: wanted min_gap_s from 0 and diversity in 0..1, got {self.min_gap_s} and {self.diversity}"
            )
        if self.embedding is not None:
            _set(self, "embedding", check_unit_vector(self.embedding, "query: embedding"))
        elif self.embedding_model:
            raise InvalidInput(f"query: wanted an embedding of the model {self.embedding_model!r}, got none")
        if self.near is not None:
            _set(self, "near", check_point(self.near, "query: near"))
        if self.radius_m is not None and (self.near is None or not self.radius_m >= 0):
            raise InvalidInput(f"query: radius_m wants a point `near` and a number >= 0, got {self.radius_m}")
        if self.within is not None:
            box = np.asarray(self.within, dtype=np.float64)
            if box.shape != (2, 3) or np.isnan(box).any() or (box[1] < box[0]).any():
                raise InvalidInput(f"query: wanted within as (2, 3) lower and upper corner, got {self.within!r}")
            _set(self, "within", box)
        if self.between_ns is not None:
            _set(self, "between_ns", check_between(self.between_ns, "query: between_ns"))
