"""Answers about what happened: what was done, moved, told and seen, and in which order."""

from __future__ import annotations

from embodmem.ask import phrases as say
from embodmem.ask.reply import Answer, Asked
from embodmem.ask.search import EventSearch
from embodmem.ask.things import elsewhere, things, where_things
from embodmem.index.filters import row_id
from embodmem.types import Recall

_NOT_DONE = ("told", "moved", "vanished")
"""Kinds of events that the agent did not do itself."""


def _events(asked: Asked, newest_first: bool = True, *, placed: bool = False) -> tuple[list[Recall], int]:
    """The events asked for, in the order asked for, and how many there are; as many are read as are wanted."""
    q = asked.question
    did = q.verb == "do"
    mine = did and bool(q.subject) and not q.labels
    search = EventSearch(
        verb=q.verb,
        labels=q.labels,
        words=q.words,
        room=q.room,
        landmark=q.landmark,
        between_ns=asked.between_ns,
        without=_NOT_DONE if mine else (),
        own=mine,
    )
    anchors = {row_id(name) for name in asked.anchor_ids}
    numbers = asked.ordered([n for n in asked.find.numbers(search) if n not in anchors], newest_first)
    if placed:
        found = asked.find.memory.records.get(numbers)
        found = [item for item in found if item.position is not None or item.data.get("place")]
        return asked.chosen(found, "event"), len(found)
    return asked.chosen(asked.find.memory.records.get(numbers[: max(asked.k, say.TOLD)]), "event"), len(numbers)


def _no_event(asked: Asked) -> Answer:
    when = say.window(asked.between_ns, asked.clock)
    return asked.not_known(f"I remember no event of this kind ({say.event_asked_for(asked.question)}){when}")


def events(asked: Asked) -> Answer:
    """What did you do before you picked up the book? When, how often, did you, who?"""
    kind = asked.question.kind
    found, total = _events(asked, asked.backwards() if kind == "what" else True)
    if not found:
        return _no_event(asked)
    if kind == "who":
        return asked.known(say.several(found, lambda i: f"{_who(i)}: {asked.events_text([i])}", total), found)
    head = {"did": "yes: ", "how_many": f"{say.times(total)}: ", "how_often": f"{say.times(total)}: "}
    return asked.known(head.get(kind, "") + asked.events_text(found, total), found)


def where_events(asked: Asked) -> Answer:
    """Where did you put the book?"""
    found, total = _events(asked, placed=True)
    if found:
        return asked.known(say.several(found, asked.event_word, total), found)
    return where_things(asked) if asked.question.labels else _no_event(asked)


def _who(item: Recall) -> str:
    return str(item.data.get("agent") or item.data.get("source") or "the robot")


def _moves(asked: Asked) -> list[Recall]:
    q = asked.question
    kinds = ("vanished",) if q.verb == "vanish" else ("moved", "move")
    found = asked.find.labelled(q.labels, kinds, asked.between_ns)
    if q.room:
        found = [item for item in found if q.room.lower() in item.text.lower() or item.data.get("place") == q.room]
    return found


def moves(asked: Asked) -> Answer:
    """What was moved since the first tour? Did the mug move?"""
    q = asked.question
    if q.unknown and not q.labels:
        return asked.never_seen()
    found = asked.chosen(asked.ordered(_moves(asked), asked.backwards()), "moved")
    when = say.window(asked.between_ns, asked.clock)
    if not found:
        known = asked.find.objects(q.labels) if q.labels else []
        what = say.join([f"the {label}" for label in q.labels], "or") if q.labels else "anything"
        if q.labels and not known and not asked.find.labelled(q.labels, ("event", "fact", "keyframe")):
            return asked.never_seen()
        did = "vanished" if q.verb == "vanish" else "moved"
        return asked.not_known(f"I did not notice that {what} {did}{when}")
    head = {"did": "yes: ", "how_many": f"{say.times(len(found))}: ", "how_often": f"{say.times(len(found))}: "}
    if q.kind == "who":
        return asked.known(f"I do not know who; {asked.events_text(found)}", found)
    return asked.known(head.get(q.kind, "") + asked.events_text(found), found)


def changes(asked: Asked) -> Answer:
    """What changed since the first tour: what moved, went, or is new."""
    moved = asked.find.labelled(asked.question.labels, ("moved", "vanished"), asked.between_ns)
    begin, end = asked.between_ns or (None, None)
    fresh = [
        item
        for item in asked.select(asked.find.objects(asked.question.labels))
        if begin is not None and item.first_seen_ns >= begin and (end is None or item.first_seen_ns <= end)
    ]
    parts = [asked.events_text(moved)] if moved else []
    if fresh:
        parts.append(
            "new: " + say.several(fresh, lambda i: f"{i.label} (first seen {asked.clock.when(i.first_seen_ns)})")
        )
    found = asked.chosen([*moved, *fresh], "changed")
    if not found:
        return asked.not_known(f"I noticed no change{say.window(asked.between_ns, asked.clock)}")
    return asked.known("; ".join(parts), found)


def told(asked: Asked) -> Answer:
    """What did I tell you about the keys?"""
    q = asked.question
    words = tuple(word for phrase in q.unknown for word in phrase.split()) if not q.labels else ()
    search = EventSearch(kinds=("told",), labels=q.labels, words=words, between_ns=asked.between_ns)
    found = asked.find.events(search)
    found = asked.chosen(asked.ordered(found, newest_first=True), "told")
    if not found:
        about = f" about {say.join([*q.labels, *q.unknown], 'or')}" if q.labels or q.unknown else ""
        return asked.not_known(f"I was told nothing{about}{say.window(asked.between_ns, asked.clock)}")
    yes = "yes: " if q.kind == "is_there" else ""
    return asked.known(f"{yes}{asked.events_text(found)}", found)


def what_seen(asked: Asked) -> Answer:
    """What did you see in the bedroom, or in the last minute?"""
    q = asked.question
    if q.labels or q.landmark or q.unknown:
        found = things(asked)
        if not found:
            return asked.never_seen() if q.unknown or not q.labels else elsewhere(asked) or asked.never_seen()
    elif asked.between_ns is None:
        found = asked.select(asked.find.objects())
        found = [item for item in found if not item.data.get("vanished")]
    else:
        found = asked.select(_seen_between(asked))
    found.sort(key=lambda item: item.first_seen_ns if q.order == "first" else -item.last_seen_ns)
    found = asked.chosen(found[:1] if q.order else found, "seen")
    where = f" in the {q.room}" if q.room else ""
    if not found:
        return asked.not_known(f"I saw nothing{where}{say.window(asked.between_ns, asked.clock)}")
    counts: dict[str, int] = {}
    for item in found:
        counts[item.label] = counts.get(item.label, 0) + 1
    seen = say.join([say.article(label) if n == 1 else say.plural(label, n) for label, n in counts.items()])
    text = f"I saw {seen}{where}{say.window(asked.between_ns, asked.clock)}"
    if q.order:
        stamp = found[0].first_seen_ns if q.order == "first" else found[0].last_seen_ns
        text = f"the {q.order} thing I saw{where} was the {found[0].label} ({asked.clock.when(stamp)})"
    return asked.known(text, found)


def _seen_between(asked: Asked) -> list[Recall]:
    """Objects that a stored view of that time shows, or that were first or last seen in it."""
    begin, end = asked.between_ns or (None, None)
    views = asked.find.labelled((), ("keyframe",), asked.between_ns)
    shown = {name for view in views for name in view.evidence}

    def within(stamp_ns: int) -> bool:
        return (begin is None or stamp_ns >= begin) and (end is None or stamp_ns <= end)

    return [
        item
        for item in asked.find.objects()
        if item.id in shown or within(item.first_seen_ns) or within(item.last_seen_ns)
    ]


def everything(asked: Asked) -> Answer:
    """What do you know about the mug?"""
    q = asked.question
    items = asked.select(asked.find.objects(q.labels)) if q.labels else []
    facts = asked.find.facts([*q.labels, *(item.id for item in items)], asked.between_ns)
    events = asked.mentions()[::-1]
    found = asked.chosen([*items, *facts, *events])
    if not found:
        return asked.never_seen()
    placed = where_things(asked).text if items else ""
    parts = [placed.rstrip(".")] if placed else []
    parts += [say.several(facts, lambda fact: fact.text)] if facts else []
    parts += [asked.events_text(events)] if events else []
    return asked.known("; ".join(parts), found)
