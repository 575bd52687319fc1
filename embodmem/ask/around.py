"""Answers about who holds things, about rooms, and about the body itself."""

from __future__ import annotations

from embodmem.ask import phrases as say
from embodmem.ask.reply import Answer, Asked
from embodmem.index.filters import row_id
from embodmem.types import Recall


def holder(asked: Asked) -> Answer:
    """Who has the book? What are you holding?"""
    q = asked.question
    items = asked.find.objects(q.labels) if q.labels else []
    about = [item.id for item in items] + list(q.labels)
    if about:
        facts = asked.find.facts(about, asked.between_ns, ("held by",), "subject")
    elif q.unknown:
        return asked.never_seen()
    else:
        held = asked.find.memory.semantic.facts(relation="held by")
        facts = asked.find.memory.records.get([row_id(fact.id) for fact in held])
    if facts:
        yes = "yes: " if q.kind == "did" else ""
        return asked.known(f"{yes}{say.several(facts, lambda fact: fact.text)}", asked.chosen(facts, "held by"))
    what = say.join([f"the {label}" for label in q.labels], "or") if q.labels else "anything"
    return asked.not_known(f"I know of nobody who holds {what}{say.window(asked.between_ns, asked.clock)}")


def rooms(asked: Asked) -> Answer:
    """Which rooms are there?"""
    found = asked.find.memory.scene.rooms()
    if not found:
        return asked.not_known("I know no rooms")
    text = f"I know {say.plural('room', len(found))}: {say.join([room.label for room in found])}"
    return asked.known(text, asked.chosen(found, "room"))


def where_self(asked: Asked) -> Answer:
    """Where am I, where were you?"""
    frames = asked.find.poses(asked.between_ns)
    if asked.between_ns is not None and not frames:  # nothing in that time: the last before it still holds
        frames = asked.find.poses((None, asked.between_ns[1]))[-1:]
    if not frames:
        return asked.not_known("I have no view and no event that says where the body was")
    found = asked.chosen(frames[::-1] if asked.question.order != "first" else frames, "self")
    if asked.backwards() or asked.question.order:
        found = found[:1]

    def tell(view: Recall) -> str:
        assert view.position is not None
        room = asked.find.memory.scene.room_of(view.position)
        return (
            f"at {say.point(view.position)}{f' in the {room}' if room else ''} ({asked.clock.when(view.last_seen_ns)})"
        )

    return asked.known(f"The body was {say.several(found, tell)}", found)


def when_self(asked: Asked) -> Answer:
    """When were you in the kitchen?"""
    room = asked.question.room
    assert room is not None
    found = asked.find.poses(asked.between_ns, (room,))
    found = asked.ordered(found, newest_first=True)
    if not found:
        return asked.not_known(f"I have no view from inside the {room}{say.window(asked.between_ns, asked.clock)}")
    text = f"I was in the {room} {say.several(found, lambda view: asked.clock.when(view.last_seen_ns))}"
    return asked.known(text, asked.chosen(found, "room"))
