"""An event as a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.index import Record
from embodmem.types import Event


def record_of(event: Event, place: str, evidence: Sequence[int], position: NDArray[np.float64] | None) -> Record:
    """The record that keeps an event; `EpisodicMemory.add_event` says what the arguments are."""
    T = event.T_world_body
    if position is None and T is not None:
        position = T[:3, 3]
    data: dict[str, Any] = {"objects": list(event.objects), "outcome": event.outcome}
    if event.reward is not None:
        data["reward"] = event.reward
    if T is not None:
        data["T_world_body"] = T.tolist()
    if place:
        data["place"] = place
    data |= {name: getattr(event, name) for name in ("action", "modality") if getattr(event, name)}
    data["content_hash"] = event.content_hash
    return Record(
        kind="event",
        subkind=event.kind,
        first_ns=event.stamp_ns,
        last_ns=event.stamp_ns if event.until_ns is None else event.until_ns,
        text=event.text,
        agent=event.agent,
        source=event.source,
        position=position,
        tags=(*event.objects, place),
        evidence=evidence,
        data=data,
    )


def digest_number(content_hash: str) -> int:
    """The first 64 bits of a content hash, as SQLite keeps whole numbers.

    Raises:
        ValueError: It is no hash in hex.
    """
    return int.from_bytes(bytes.fromhex(content_hash)[:8], "little", signed=True)
