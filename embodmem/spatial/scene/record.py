"""An object as a record."""

from __future__ import annotations

from typing import Any

import numpy as np

from embodmem.index import Record
from embodmem.spatial.scene.node import ObjectNode


def record_of(node: ObjectNode, room: str, support: str, keyframe: int | None) -> Record:
    """The record that keeps an object.

    Args:
        node: The object.
        room: The name of the room that it is in; "" outside of all.
        support: The label of what it stands on; "" where that is not known.
        keyframe: Row id of the view that shows it best.
    """
    parts = [node.label, f"on {support}" if support else "", f"in the {room}" if room else ""]
    return Record(
        kind="object",
        label=node.label,
        text=" ".join(part for part in parts if part) + ("" if node.present else ", no longer there"),
        first_ns=node.first_seen_ns,
        last_ns=node.last_seen_ns,
        position=node.position,
        box=np.stack([node.lower, node.upper]),
        tags=(room,) if room else (),
        evidence=[] if keyframe is None else [keyframe],
        data={
            "extent": (node.upper - node.lower).tolist(),
            "lower": node.lower.tolist(),
            "upper": node.upper.tolist(),
            "sightings": node.sightings,
            "score": node.score,
            "room": room,
            "on": support,
            "vanished": not node.present,
        },
    )


def signature_of(node: ObjectNode) -> tuple[Any, ...]:
    """Differs whenever the node does."""
    return (node.sightings, node.misses, node.present, node.label, node.first_seen_ns, sum(node.apart.values()))
