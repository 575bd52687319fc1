"""What is stated and what is believed: claims, decisions about them, and facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embodmem.checks import check_point, check_stamp, check_texts
from embodmem.errors import InvalidInput

FOREVER = 2**63 - 1
"""Later than every time, ns."""

Says = Literal["holds", "ended", "never"]
Operation = Literal["ADD", "UPDATE", "DELETE", "NOOP", "REJECT"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement and when it held.

    Attributes:
        id: "fact:12".
        subject: What it is about: an id ("object:3") or a name.
        relation: "on", "in", "held by", ...
        object: What it is related to: an id or a name.
        valid_from_ns: Since when it held in the world, ns.
        valid_until_ns: Until when, ns; None while it holds.
        known_from_ns: Since when the memory believed it, ns.
        known_until_ns: Until when, ns; None while it does.
        confidence: 0..1, of the claim that it began with.
        text: It in words, "mug is on table".
        place: Where that was ("kitchen"); "" where nobody said.
        source: Who said so first.
    """

    id: str
    subject: str
    relation: str
    object: str
    valid_from_ns: int
    valid_until_ns: int | None
    known_from_ns: int
    known_until_ns: int | None
    confidence: float
    text: str
    place: str = ""
    source: str = ""

    @property
    def number(self) -> int:
        """Its row id."""
        return int(self.id.partition(":")[2])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Claim:
    """What somebody states about the world.

    "holds" with `valid_from_ns` alone: it began then, and goes on until something else is known to begin, or it is
    known to end. With both times: it held in that time; what held before and after is left as it was.
    "ended": it held no longer from `valid_until_ns` on; without an object, whatever the relation held of.
    "never": it did not hold in that time (all the time, where none is given), whoever said so before.

    Who says at 50 that something is so since 15 vouches for the time between; who hands in late what was seen at 15
    vouches for that moment. `seen_ns` tells them apart: what was believed to begin, or to end, between the beginning
    and `seen_ns` gives way, what begins then or later stays.

    Attributes:
        subject: Id or name.
        relation: The relation.
        object: Id or name.
        says: "holds", "ended" or "never".
        valid_from_ns: Since when, ns.
        valid_until_ns: Until when, ns.
        seen_ns: Until when it was seen, or is vouched for, that moment left out, ns; None takes `known_ns`.
        known_ns: When the memory learnt it, ns; None takes the latest of the other times. A time before what was
            learnt last counts as that time.
        confidence: 0..1.
        source: Who says so.
        place: Where that is ("kitchen").
        position: (3,) metres in the world, where the subject is.
        names: Words for subject and object, where these are ids.
        text: The whole in words; "" makes "<subject> is <relation> <object>".
        evidence: Row ids that it rests on.

    Raises:
        InvalidInput: A part is missing, a time is no whole number of ns, or the times are out of order.
    """

    subject: str
    relation: str
    object: str = ""
    says: Says = "holds"
    valid_from_ns: int | None = None
    valid_until_ns: int | None = None
    seen_ns: int | None = None
    known_ns: int | None = None
    confidence: float = 1.0
    source: str = ""
    place: str = ""
    position: NDArray[np.float64] | None = None
    names: tuple[str, str] | None = None
    text: str = ""
    evidence: Sequence[int] = ()

    def __post_init__(self) -> None:
        check_texts("claim", self.subject, self.relation, self.object, self.source, self.place, self.text)
        if self.says not in ("holds", "ended", "never"):
            raise InvalidInput(f"claim: wanted says 'holds', 'ended' or 'never', got {self.says!r}")
        whole = self.subject.strip() and self.relation.strip() and (self.object.strip() or self.says == "ended")
        if not whole or not 0.0 <= self.confidence <= 1.0:
            raise InvalidInput(
                f"claim: wanted subject, relation, object and confidence in 0..1, got {self.subject!r}, "
                f"{self.relation!r}, {self.object!r}, {self.confidence}"
            )
        for name in ("valid_from_ns", "valid_until_ns", "seen_ns", "known_ns"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_stamp(getattr(self, name), name))
        begin, end = self.valid_from_ns, self.valid_until_ns
        if (begin is None and self.says == "holds") or (end is None and self.says == "ended"):
            wanted = "valid_from_ns" if self.says == "holds" else "valid_until_ns"
            raise InvalidInput(f"claim: wanted {wanted} with says={self.says!r}, got None")
        if begin is not None and end is not None and end <= begin:
            raise InvalidInput(f"claim: wanted valid_from_ns < valid_until_ns, got {begin} and {end}")
        if self.position is not None:
            object.__setattr__(self, "position", check_point(self.position, "claim: position"))

    @property
    def learnt_ns(self) -> int:
        """When the memory learnt it, by the clock of who told it, ns."""
        if self.known_ns is not None:
            return self.known_ns
        return max(ns for ns in (0, self.valid_from_ns, self.valid_until_ns, self.seen_ns) if ns is not None)

    @property
    def begin_ns(self) -> int:
        """From when on it changes what is believed, ns."""
        return (self.valid_until_ns if self.says == "ended" else self.valid_from_ns) or 0

    @property
    def is_open(self) -> bool:
        """Whether what it states goes on until something else is known."""
        return self.says == "ended" or (self.says == "holds" and self.valid_until_ns is None)

    @property
    def last_ns(self) -> int:
        """The last moment that it speaks of itself, ns."""
        if not self.is_open:
            return FOREVER if self.valid_until_ns is None else self.valid_until_ns - 1
        return max(self.begin_ns, (self.learnt_ns if self.seen_ns is None else self.seen_ns) - 1)


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a claim.

    Attributes:
        operation: "ADD": something new is believed beside all else. "UPDATE": it replaces or changes what was believed.
            "DELETE": something is believed to have ended, or never to have been. "NOOP": it was believed already; the
            claim counts as evidence. "REJECT": the rules are against it; nothing of it is kept.
        reason: Why, in words.
        fact: The fact that says so now, or that stands against it; None where there is none.
        made: Ids of the facts that are believed from now on.
        closed: Ids of the facts that are believed no longer; they stay in the history.
    """

    operation: Operation
    reason: str
    fact: str | None = None
    made: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """Something that began or ended.

    Attributes:
        stamp_ns: When, ns, on the axis that was asked for.
        what: "began" or "ended" in the world; "learnt" or "dropped" in the memory.
        fact: What.
    """

    stamp_ns: int
    what: Literal["began", "ended", "learnt", "dropped"]
    fact: Fact
