"""What the server's tools give back; the schemas that clients see are made from these.

Stamps are whole nanoseconds of the memory's clock; `when` says the same in words. Positions are metres in the world,
z up.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from embodmem.ask.times import Clock
from embodmem.semantic import Fact
from embodmem.types import Recall


class Shape(BaseModel):
    """The base of all of them: values, not changed once made."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(Shape):
    """One thing remembered."""

    kind: str = Field(description="object, room, keyframe, event, fact or item")
    id: str = Field(description="as `forget` and the resource of a record take it")
    label: str = Field(description="what it is; '' for what has no name")
    text: str = Field(description="it in words")
    position: list[float] | None = Field(description="x, y, z in metres, world, z up")
    first_seen_ns: int = Field(description="when it was first seen or began")
    last_seen_ns: int = Field(description="when it was last seen or ended")
    when: str = Field(description="last_seen_ns in words")
    evidence: list[str] = Field(description="ids that it rests on")
    why: dict[str, float] = Field(description="channel -> the score by which it was chosen")

    @classmethod
    def of(cls, item: Recall, clock: Clock) -> Item:
        """A recall, with its time told by a clock."""
        return cls(
            kind=item.kind,
            id=item.id,
            label=item.label,
            text=item.text,
            position=None if item.position is None else [round(float(x), 4) for x in item.position],
            first_seen_ns=item.first_seen_ns,
            last_seen_ns=item.last_seen_ns,
            when=clock.when(item.last_seen_ns),
            evidence=list(item.evidence),
            why={name: float(score) for name, score in item.why.items()},
        )


class Answered(Shape):
    """An answer."""

    known: bool = Field(description="whether the memory supports an answer")
    answer: str = Field(description="it as a sentence; begins with 'not known' where nothing supports one")
    items: list[Item] = Field(description="what supports it, best first")
    now_ns: int = Field(description="the moment that it was given at")


class Remembered(Shape):
    """What was written down."""

    id: str = Field(description="of the event")
    text: str = Field(description="its words")
    stamp_ns: int = Field(description="when it was told")


class Statement(Shape):
    """A fact on its two time axes: when it held in the world, and when the memory believed so."""

    id: str = Field(description="fact:12")
    text: str = Field(description="'mug is on shelf'")
    subject: str = Field(description="an id or a name")
    relation: str = Field(description="on, in, held by, ...")
    object: str = Field(description="an id or a name")
    valid_from_ns: int = Field(description="since when it held in the world")
    valid_until_ns: int | None = Field(description="until when; null while it holds")
    known_from_ns: int = Field(description="since when the memory believed it")
    known_until_ns: int | None = Field(description="until when; null while it does")
    confidence: float = Field(description="0 to 1")

    @classmethod
    def of(cls, fact: Fact) -> Statement:
        """A fact of the semantic memory."""
        return cls(
            id=fact.id,
            text=fact.text,
            subject=fact.subject,
            relation=fact.relation,
            object=fact.object,
            valid_from_ns=fact.valid_from_ns,
            valid_until_ns=fact.valid_until_ns,
            known_from_ns=fact.known_from_ns,
            known_until_ns=fact.known_until_ns,
            confidence=fact.confidence,
        )


class Corrected(Shape):
    """What a correction changed."""

    holds: list[Statement] = Field(description="what is now believed to hold of the subject")
    closed: list[Statement] = Field(description="what was believed to hold before and is no longer")
    noted: str = Field(description="id of the event that says who corrected it and when")


class Forgotten(Shape):
    """What is gone, from the memory and from the disk."""

    forgotten: int = Field(description="how many records and voxels went")
    by_kind: dict[str, int] = Field(description="kind -> how many records went")
