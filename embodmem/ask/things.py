"""Answers about things: where, when seen, what is there, how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from embodmem.ask import phrases as say
from embodmem.ask.find import NEAR_M, Stay, object_name
from embodmem.ask.reply import Answer, Asked
from embodmem.ask.search import EventSearch
from embodmem.ask.words import tokens
from embodmem.index.filters import row_id
from embodmem.types import Recall


def where_things(asked: Asked) -> Answer:
    """Where is, or was, the mug?"""
    q = asked.question
    items = asked.select(asked.find.objects(q.labels)) if q.labels else []
    if q.order == "previous" or (q.between_ns is not None or q.anchors):
        return _where_then(asked, items)
    if q.order == "first" and items:
        return _where_first(asked, items)
    if q.order == "nearest":
        items = _nearest(asked, items)
    items = asked.chosen([_placed(asked, item) for item in items])
    news = _news(asked, items)
    if not items:
        return _where_by_words(asked)
    if len(items) == 1:
        text = _sentence(items[0])
    elif len({item.label for item in items}) > 1:
        text = say.several(items, _sentence)
    else:
        text = f"There are {say.plural(items[0].label, len(items))}: {say.several(items, lambda item: item.text)}"
    if news:
        text += f"; since then: {asked.events_text(news)}"
    return asked.known(text, [*items, *news])


def _nearest(asked: Asked, items: Sequence[Recall]) -> list[Recall]:
    """The one that is nearest to where the body was last."""
    poses = [pose for pose in asked.find.poses() if pose.position is not None]
    here = [item for item in items if item.position is not None and not item.data.get("vanished")]
    if not poses or not here:
        return list(items)
    at = poses[-1].position
    return [min(here, key=lambda item: float(np.linalg.norm(np.asarray(item.position) - at)))]


def _sentence(item: Recall) -> str:
    """The text of a placed object as a sentence: "The mug is at ..."."""
    rest = item.text.removeprefix(f"{item.label} ")
    return f"The {item.label} {rest if rest.startswith('was ') else 'is ' + rest}"


def _placed(asked: Asked, item: Recall) -> Recall:
    """An object with where it is in words, and the facts that say so as evidence."""
    stay = asked.find.stays(item)[-1]
    gone = bool(item.data.get("vanished"))
    near = [] if stay.relations or gone or stay.position is None else _neighbours(asked, item)
    where = say.place(stay.position, item.data.get("room"), stay.relations, near) or stay.words
    if stay.words and stay.relations:
        where += f", {stay.words}"
    seen = say.sightings(item, asked.clock)
    if stay.position is None:  # in a hand, or laid down since
        seen = f"seen before at {say.point(item.position)}, {seen}"
    text = f"{item.label} was {where}, {seen}, and is no longer there" if gone else f"{item.label} {where}, {seen}"
    return replace(item, text=text, evidence=tuple(dict.fromkeys((*stay.evidence, *item.evidence))))


def _neighbours(asked: Asked, item: Recall) -> list[str]:
    """Labels of the two nearest things within reach."""
    if item.position is None:
        return []
    found = asked.find.memory.scene.objects(near=item.position, k=4)
    near = [
        other.label
        for other in found
        if other.id != item.id
        and not other.data.get("vanished")
        and other.position is not None
        and np.linalg.norm(other.position - item.position) <= NEAR_M
    ]
    return list(dict.fromkeys(near))[:2]


def _news(asked: Asked, items: Sequence[Recall]) -> list[Recall]:
    """What was told of these things after they were last seen."""
    if not items:
        return []
    since = max(item.last_seen_ns for item in items) + 1
    told = asked.find.events(EventSearch(kinds=("told",), labels=asked.question.labels, between_ns=(since, None)))
    return asked.chosen(told[::-1][:1], "told")


def is_told(event: Recall) -> bool:
    """Whether an event is something that was told."""
    return event.data.get("kind") == "told"


def _where_by_words(asked: Asked) -> Answer:
    """No object bears the name: facts, what was told and done, and views may still know."""
    q = asked.question
    if q.labels and asked.find.objects(q.labels):  # there are some, but not where it was asked for
        return elsewhere(asked) or asked.never_seen()
    facts = asked.find.facts(q.labels, None, ("on", "in", "at", "near", "held by", "under", "behind"), "subject")
    if facts and not (q.room or q.landmark):
        return asked.known(say.several(facts, lambda fact: fact.text), asked.chosen(facts))
    events = asked.mentions()[::-1]
    events = [e for e in events if is_told(e)] or events
    if q.room or q.landmark:
        events = []
    if events:
        told = f"I have not seen {say.asked_for(q)}, but know: {asked.events_text(events)}"
        return asked.known(told, asked.chosen(events, "told"))
    views = asked.find.labelled(q.labels, ("keyframe",))[::-1] if q.labels and not q.room and not q.landmark else []
    if views:
        text = (
            f"I saw {say.asked_for(q)} from {say.point(views[0].position)} ({asked.clock.when(views[0].last_seen_ns)})"
        )
        return asked.known(text, asked.chosen(views, "view"))
    return elsewhere(asked) or asked.never_seen()


def elsewhere(asked: Asked) -> Answer | None:
    """No thing of the name is where it was asked for, but some are elsewhere; None when there are none."""
    q = asked.question
    items = asked.find.objects(q.labels) if q.labels and (q.room or q.landmark) and asked.between_ns is None else []
    found = asked.chosen([_placed(asked, item) for item in items if not item.data.get("vanished")])
    if not found:
        return None
    text = f"no, I have not seen {say.asked_for(q)}; what I know: {say.several(found, lambda item: item.text)}"
    return asked.known(text, found)


def _where_first(asked: Asked, items: list[Recall]) -> Answer:
    first = min(items, key=lambda item: item.first_seen_ns)
    stay = asked.find.stays(first)[0]
    found = [_stayed(asked, first, stay)]
    return asked.known(f"When I first saw it, the {found[0].text}", asked.chosen(found))


def _where_then(asked: Asked, items: Sequence[Recall]) -> Answer:
    """Where things were at another time than now."""
    q = asked.question
    found: list[Recall] = []
    # "Before you picked up the book" is about the book that was picked up, not about its like.
    items = [item for item in items if item.id in asked.anchor_ids] or items
    for item in items:
        stays = asked.find.stays(item)
        if q.order == "previous" and asked.between_ns is None:
            # A place counts for more than a hand or a word.
            stays = sorted(stays[:-1], key=lambda stay: (stay.position is not None, bool(stay.words)))[-1:]
        else:
            begin, end = asked.between_ns or (None, None)
            stays = [
                stay
                for stay in stays
                if (end is None or stay.begin_ns <= end)
                and (begin is None or stay.until_ns is None or stay.until_ns > begin)
            ]
            if asked.backwards() or q.order == "last":
                stays = stays[-1:]
            elif q.order == "first":
                stays = stays[:1]
        found += [_stayed(asked, item, stay) for stay in stays]
    if not items and q.labels:
        facts = asked.find.facts(q.labels, asked.between_ns or (None, None), (), "subject")
        facts = facts[:-1][-1:] if q.order == "previous" else facts
        if facts:
            return asked.known(say.several(facts, lambda fact: fact.text), asked.chosen(facts))
    if not items and not q.labels:
        return asked.never_seen()
    if not found:
        what = " or ".join(q.labels or q.unknown)
        if q.order == "previous":
            return asked.not_known(f"I have not seen the {what} anywhere else before")
        return asked.not_known(f"I do not know where the {what} was{say.window(asked.between_ns, asked.clock)}")
    return asked.known(f"The {say.several(found, lambda item: item.text)}", asked.chosen(found))


def _stayed(asked: Asked, item: Recall, stay: Stay) -> Recall:
    """An object as it stood during a stay."""
    room = asked.find.memory.scene.room_of(stay.position) if stay.position is not None else None
    where = say.place(stay.position, room, stay.relations) or stay.words or "at a place that I do not know"
    since = asked.clock.tell(stay.begin_ns).removeprefix("at ")
    until = "now" if stay.until_ns is None else asked.clock.tell(stay.until_ns).removeprefix("at ")
    return replace(
        item,
        position=stay.position,
        first_seen_ns=stay.begin_ns,
        last_seen_ns=item.last_seen_ns if stay.until_ns is None else stay.until_ns,
        text=f"{item.label} was {where}, from {since} until {until}",
        evidence=stay.evidence,
    )


def when_seen(asked: Asked) -> Answer:
    """When did you last see the mug?"""
    q = asked.question
    if q.landmark and q.relation:
        return _when_related(asked)
    first = q.order == "first"
    items = asked.select(asked.find.objects(q.labels)) if q.labels else []
    if items and asked.between_ns is None:
        pick = (
            min(items, key=lambda item: item.first_seen_ns) if first else max(items, key=lambda item: item.last_seen_ns)
        )
        stamp = pick.first_seen_ns if first else pick.last_seen_ns
        text = f"I {'first' if first else 'last'} saw the {pick.label} {asked.clock.when(stamp)}"
        where = asked.find.stays(pick)[0].position if first else pick.position
        room = pick.data.get("room") if not first else None
        text += f", {say.place(where, room, ())}" if where is not None else ""
        found = replace(pick, text=text[2].lower() + text[3:] if text.startswith("I ") else text)
        return asked.known(text, asked.chosen([found]))
    views = asked.find.labelled(q.labels, ("keyframe",), asked.between_ns) if q.labels and not q.room else []
    if views:
        view = views[0] if first else views[-1]
        text = f"I {'first' if first else 'last'} saw {say.asked_for(q)} {asked.clock.when(view.last_seen_ns)}"
        return asked.known(text, asked.chosen([view], "view"))
    told = asked.mentions()
    if told and not q.room:
        return asked.known(
            f"I have not seen {say.asked_for(q)}, but know: {asked.events_text(told)}", asked.chosen(told, "told")
        )
    if items:
        return asked.not_known(f"I did not see {say.asked_for(q)}{say.window(asked.between_ns, asked.clock)}")
    return elsewhere(asked) or asked.never_seen()


def _when_related(asked: Asked) -> Answer:
    """When was the mug on the table?"""
    q = asked.question
    about = [item.id for item in asked.find.objects(q.labels)] + list(q.labels)
    facts = asked.find.facts(about, asked.between_ns or (None, None), (q.relation,), "subject")
    names = {name.lower() for name in q.landmark} | {item.id for item in asked.find.objects(q.landmark)}
    facts = [f for f in facts if f.data["object"].lower() in names or object_name(f).lower() in names]
    if not facts:
        return asked.not_known(f"I never found {say.asked_for(q)}")

    def tell(fact: Recall) -> str:
        until = fact.data["valid_until_ns"]
        end = "now" if until is None else asked.clock.tell(until).removeprefix("at ")
        return f"{fact.text} from {asked.clock.tell(fact.data['valid_from_ns']).removeprefix('at ')} until {end}"

    facts = asked.ordered(facts, newest_first=True)
    return asked.known(f"The {say.several(facts, tell)}", asked.chosen(facts))


def what_things(asked: Asked) -> Answer:
    """What is on the table, in the kitchen, near the sofa?"""
    found = things(asked)
    if not found:
        return _nothing_there(asked)
    count = f"{len(found)} things" if len(found) > 1 else "1 thing"
    there = _there(asked)
    text = f"{count}{there}: {say.several(found, _short)}"
    return asked.known(text[0].upper() + text[1:], found)


def _there(asked: Asked) -> str:
    q = asked.question
    place = f" {q.relation} the {say.join(q.landmark, 'or')}" if q.landmark else ""
    return place + (f" in the {q.room}" if q.room else "")


def _short(item: Recall) -> str:
    """A thing with its place, in a list."""
    if item.kind != "object":
        return item.text
    gone = ", no longer there" if item.data.get("vanished") else ""
    return f"{item.label} at {say.point(item.position)}{gone}" if item.position is not None else item.label


def _nothing_there(asked: Asked) -> Answer:
    q = asked.question
    if q.unknown and not q.landmark:
        told = asked.mentions()[::-1]
        if told:
            return asked.known(
                f"I have not seen {say.asked_for(q)}, but know: {asked.events_text(told)}", asked.chosen(told, "told")
            )
        return asked.never_seen()
    told = asked.find.events(EventSearch(kinds=("told",), labels=q.landmark, between_ns=asked.between_ns))
    told = [event for event in told if q.relation in tokens(event.text.lower())]
    if told and q.landmark:
        return asked.known(f"I was told: {asked.events_text(told[::-1])}", asked.chosen(told[::-1], "told"))
    return asked.not_known(f"I have seen nothing{_there(asked)}{say.window(asked.between_ns, asked.clock)}")


def things(asked: Asked) -> list[Recall]:
    """The objects that fit labels, room, relation and time; facts stand in for what is no object."""
    q = asked.question
    if q.landmark:
        return asked.chosen(related(asked), q.relation)
    if q.unknown and not q.labels:
        return []
    items = [item for item in asked.select(asked.find.objects(q.labels)) if _was_there(asked, item)]
    return asked.chosen(items, "room" if q.room and not q.labels else "label")


def _was_there(asked: Asked, item: Recall) -> bool:
    """Now: still there. In a stretch of time: known by then, and seen since it began."""
    if asked.between_ns is None:
        return not item.data.get("vanished")
    begin, end = asked.between_ns
    return (end is None or item.first_seen_ns <= end) and (begin is None or item.last_seen_ns >= begin)


def related(asked: Asked) -> list[Recall]:
    """Things in a relation to the landmark, and of the labels asked for if any are."""
    q = asked.question
    marks = asked.find.objects(q.landmark)
    if q.relation == "near":
        wanted = {label.lower() for label in q.labels}
        near = [item for item in asked.find.near(marks) if not wanted or item.label.lower() in wanted]
        return asked.select(near, related_too=False)
    found: dict[str, Recall] = {}
    for fact in asked.find.related(q.relation, marks, q.landmark, asked.between_ns):
        under = q.relation == "under" and fact.data["relation"] == "on"
        name = fact.data["object"] if under else fact.data["subject"]
        shown = fact
        if name.startswith("object:"):
            item = next(iter(asked.find.memory.records.get([row_id(name)])), None)
            if item is not None:
                shown = replace(item, evidence=tuple(dict.fromkeys((fact.id, *item.evidence))))
                if fact.data["valid_until_ns"] is not None and fact.position is not None and not under:
                    shown = replace(shown, position=fact.position)  # where it was then
        found.setdefault(name, shown)
    items = list(found.values())
    if q.labels:
        wanted = {label.lower() for label in q.labels}
        items = [item for item in items if item.label.lower() in wanted]
    return asked.select(items, related_too=False)


def how_many_things(asked: Asked) -> Answer:
    """How many mugs are there?"""
    q = asked.question
    if q.unknown and not q.labels:
        return asked.never_seen()
    found = things(asked)
    name = " or ".join(q.labels) if q.labels else "thing"
    if not found:
        others = elsewhere(asked)
        if others is not None:
            return others
        return asked.not_known(f"I have seen no {name}{_there(asked)}{say.window(asked.between_ns, asked.clock)}")
    return asked.known(f"{say.plural(name, len(found))}{_there(asked)}: {say.several(found, _short)}", found)


def is_there_things(asked: Asked) -> Answer:
    """Is there a laptop in the office?"""
    q = asked.question
    found = things(asked)
    if found:
        return asked.known(
            f"yes: {say.several(found, lambda i: _placed(asked, i).text if i.kind == 'object' else i.text)}", found
        )
    told = asked.mentions()[::-1] if not (q.room or q.landmark) else []
    if told:
        return asked.known(
            f"I have not seen {say.asked_for(q)}, but know: {asked.events_text(told)}", asked.chosen(told, "told")
        )
    return elsewhere(asked) or asked.never_seen()


def how_often_seen(asked: Asked) -> Answer:
    """How often did you see the mug?"""
    q = asked.question
    items = asked.select(asked.find.objects(q.labels)) if q.labels else []
    if not items:
        return asked.never_seen()
    name = " or ".join(q.labels)
    if asked.between_ns is None:
        count = sum(int(item.data.get("sightings", 0)) for item in items)
        text = f"I saw the {name} {say.times(count)}, last {asked.clock.when(max(i.last_seen_ns for i in items))}"
        return asked.known(text, asked.chosen(items))
    views = asked.find.labelled(q.labels, ("keyframe",), asked.between_ns)
    if not views:
        return asked.not_known(f"no stored view{say.window(asked.between_ns, asked.clock)} shows the {name}")
    stored = "1 stored view" if len(views) == 1 else f"{len(views)} stored views"
    return asked.known(
        f"the {name} is in {stored}{say.window(asked.between_ns, asked.clock)}", asked.chosen(views, "view")
    )
