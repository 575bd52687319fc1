"""What the page says of a memory: pictures, answers, objects, events and facts as plain rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embodmem.geometry import Pose
from embodmem.report.config import ReportConfig
from embodmem.report.pictures import spread, thumbnail
from embodmem.report.plan import Track, View
from embodmem.report.times import Times
from embodmem.types import Query, Recall

if TYPE_CHECKING:
    from embodmem.ask import Answer
    from embodmem.embodied import EmbodiedMemory

_ALL = 1_000_000
_ID = re.compile(r"\b([a-z]+:\d+)\b")


def short(text: str, length: int = 60) -> str:
    """A text that is at most this long, with an ellipsis where it was cut."""
    return text if len(text) <= length else text[: length - 1] + "\u2026"


def anchor(record_id: str) -> str:
    """The anchor of a record on the page: "object:12" -> "object-12"."""
    return record_id.replace(":", "-")


@dataclass(frozen=True, slots=True)
class Picture:
    """A keyframe of the gallery; `uri` is empty where the sensor gave no colour."""

    item: Recall
    T_world_camera: Pose
    uri: str
    width: int
    height: int

    @property
    def pose(self) -> str:
        """Where the camera was and where it looked, in words."""
        position, forward = self.T_world_camera[:3, 3], self.T_world_camera[:3, 2]
        yaw = round(float(np.degrees(np.arctan2(forward[1], forward[0])))) % 360
        pitch = round(float(np.degrees(np.arcsin(np.clip(forward[2], -1.0, 1.0)))))
        tilt = "level" if pitch == 0 else f"{abs(pitch)}\u00b0 {'up' if pitch > 0 else 'down'}"
        return f"at ({', '.join(f'{x:.2f}' for x in position)}) m, looks {yaw}\u00b0 from +x, {tilt}"


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event, or a run of events that say the same; the run is named by its first."""

    item: Recall
    count: int
    last_ns: int


@dataclass(slots=True, kw_only=True)
class Content:
    """All that the page shows, with texts cut and numbers bounded.

    Attributes:
        events: Rows of the list, oldest first; `hidden_events` older ones are left out of it.
        all_events: Every event, for the timeline.
        keyframes_ns: (N,) stamps of all keyframes, shown or not.
        anchors: Ids that links may lead to, with the word to call them by.
    """

    times: Times
    answers: list[tuple[str, Answer]]
    rooms: list[Recall]
    objects: list[Recall]
    hidden_objects: int
    events: list[EventRow]
    hidden_events: int
    all_events: list[Recall]
    facts: list[Recall]
    hidden_facts: int
    pictures: list[Picture]
    keyframes_ns: NDArray[np.int64]
    tracks: list[Track]
    views: list[View] = field(default_factory=list)
    anchors: dict[str, str] = field(default_factory=dict)

    def links(self, ids: Iterable[str]) -> list[tuple[str, str]]:
        """(anchor, word) of those ids that are on the page."""
        return [(anchor(i), self.anchors[i]) for i in dict.fromkeys(ids) if i in self.anchors]

    def linked(self, text: str) -> list[tuple[str, str]]:
        """A text in pieces, (anchor, word); the anchor is "" where no id that is on the page is named."""
        pieces = _ID.split(text)  # every second piece is an id
        return [(anchor(p) if i % 2 and p in self.anchors else "", p) for i, p in enumerate(pieces)]

    def view_of(self, item: Recall) -> list[str]:
        """The id of the picture on the page that shows a thing: the one it rests on, else the latest; [] for none."""
        shown = [picture.item for picture in self.pictures]
        known = {picture.id for picture in shown}
        best = [i for i in (item.id, *item.evidence) if i in known]
        return (best or [picture.id for picture in reversed(shown) if item.id in picture.evidence])[:1]

    def seen_in(self, items: Sequence[Recall], count: int = 3) -> list[Picture]:
        """The first few pictures on the page that show these things."""
        wanted = list(dict.fromkeys(i for item in items for i in self.view_of(item)))
        shown = {picture.item.id: picture for picture in self.pictures if picture.uri}
        return [shown[i] for i in wanted if i in shown][:count]


def collect(memory: EmbodiedMemory, questions: Sequence[str], config: ReportConfig) -> Content:
    """Read all that the page shows."""

    def cut(item: Recall) -> Recall:
        return replace(item, text=short(item.text, config.max_text_chars), label=short(item.label))

    times = _times(memory)
    answers = _answers(memory, questions, config)
    objects = memory.scene.objects()
    keyframes = memory.episodic.timeline(Query(kinds=("keyframe",)), limit=_ALL)
    keyframes = [k for k in keyframes if k.kind == "keyframe"]
    events = [e for e in memory.episodic.timeline(Query(kinds=("event",)), limit=_ALL) if e.kind == "event"]
    facts = memory.records.in_order(Query(), ("fact",), newest_first=False, limit=_ALL)
    rows = _runs(events)
    shown_rows = rows[len(rows) - min(config.max_events, len(rows)) :]
    shown_objects = [cut(item) for item in objects[: config.max_objects]]
    shown_facts = facts[len(facts) - min(config.max_facts, len(facts)) :]
    pictures = _pictures(memory, keyframes, answers, objects, config)
    content = Content(
        times=times,
        answers=[(q, replace(a, text=short(a.text, 4000), recalls=[cut(r) for r in a.recalls])) for q, a in answers],
        rooms=[cut(room) for room in memory.scene.rooms()],
        objects=shown_objects,
        hidden_objects=len(objects) - len(shown_objects),
        events=[replace(row, item=cut(row.item)) for row in shown_rows],
        hidden_events=sum(row.count for row in rows) - sum(row.count for row in shown_rows),
        all_events=events,
        facts=[cut(fact) for fact in shown_facts],
        hidden_facts=len(facts) - len(shown_facts),
        pictures=[replace(p, item=cut(p.item)) for p in pictures],
        keyframes_ns=np.array([k.first_seen_ns for k in keyframes], dtype=np.int64),
        tracks=_tracks(keyframes, events, times),
    )
    content.anchors = {item.id: f"{n} {item.label}" for n, item in enumerate(content.objects, 1)}
    content.anchors |= {row.item.id: f"event, {times.tell(row.item.first_seen_ns)}" for row in content.events}
    content.anchors |= {fact.id: f"fact: {short(fact.text)}" for fact in content.facts}
    content.anchors |= {p.item.id: f"view, {times.tell(p.item.first_seen_ns)}" for p in content.pictures}
    moments = times.fraction(np.array([p.item.first_seen_ns for p in content.pictures], dtype=np.int64)).tolist()
    for p, moment in zip(content.pictures, moments, strict=True):
        T = p.T_world_camera
        content.views.append(View(anchor(p.item.id), content.anchors[p.item.id], T[:2, 3], T[:2, 2], moment))
    return content


def _times(memory: EmbodiedMemory) -> Times:
    info = memory.info()
    if info["first_ns"] is None:
        return Times(0, 0)
    return Times(info["first_ns"], max(info["last_ns"], info["first_ns"]))


def _answers(memory: EmbodiedMemory, questions: Sequence[str], config: ReportConfig) -> list[tuple[str, Answer]]:
    if not questions:
        return []
    from embodmem.ask import ask

    found = []
    for question in questions:
        answer = ask(memory, question)
        found.append(
            (short(question, config.max_text_chars), replace(answer, recalls=answer.recalls[: config.max_evidence]))
        )
    return found


def _runs(events: Sequence[Recall]) -> list[EventRow]:
    """Neighbours that say the same become one row."""
    rows: list[EventRow] = []
    said: tuple[object, ...] = ()
    for event in events:
        says = (event.data.get("kind"), event.text, event.data.get("agent"), event.data.get("outcome"))
        if rows and says == said:
            rows[-1] = replace(rows[-1], count=rows[-1].count + 1, last_ns=max(rows[-1].last_ns, event.last_seen_ns))
        else:
            rows.append(EventRow(event, 1, event.last_seen_ns))
        said = says
    return rows


def _pictures(
    memory: EmbodiedMemory,
    keyframes: Sequence[Recall],
    answers: Sequence[tuple[str, Answer]],
    objects: Sequence[Recall],
    config: ReportConfig,
) -> list[Picture]:
    """Choose the views of the gallery and make them small."""
    index = {item.id: i for i, item in enumerate(keyframes)}
    said = [i for _, answer in answers for item in answer.recalls for i in (item.id, *item.evidence)]
    said += [i for item in objects for i in item.evidence]
    wanted = [index[i] for i in dict.fromkeys(said) if i in index]
    stamps = np.array([item.first_seen_ns for item in keyframes], dtype=np.int64)
    pictures = []
    for i in spread(stamps, config.max_keyframes, wanted):
        view = memory.episodic.get_keyframe(keyframes[i].id)
        small = ("", 0, 0) if view.jpeg is None else thumbnail(view.jpeg, config.picture_px, config.picture_bytes)
        pictures.append(Picture(keyframes[i], view.T_world_camera, *small))
    return pictures


def _tracks(keyframes: Sequence[Recall], events: Sequence[Recall], times: Times) -> list[Track]:
    """Where each agent was, from its keyframes and from the events that say where its body was."""
    known: dict[str, list[tuple[int, float, float]]] = {}
    for item in keyframes:
        if item.position is not None:
            x, y = item.position[:2].tolist()
            known.setdefault(item.data.get("agent", ""), []).append((item.first_seen_ns, x, y))
    for item in events:
        T = item.data.get("T_world_body")
        if T is not None:
            known.setdefault(item.data.get("agent", ""), []).append((item.first_seen_ns, T[0][3], T[1][3]))
    tracks = []
    for agent in sorted(known):
        rows = sorted(known[agent])
        stamps = np.array([row[0] for row in rows], dtype=np.int64)
        tracks.append(Track(agent, np.array([row[1:] for row in rows]), times.fraction(stamps)))
    return tracks
