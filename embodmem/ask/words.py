"""The words of questions: what a memory has names for, inflection, and verbs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timezone, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embodmem.embodied import EmbodiedMemory


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = _set(
    "a an the my your our his her their its any some many much more this that these those no all every each both "
    "few several most one two three four five six seven eight nine ten"
)
FUNCTION_WORDS = DETERMINERS | _set(
    "i you we he she they it me him them us who whom whose what which where when why how is are was were be been being "
    "am do does did have has had having can could will would shall should may might must not and or but so then there "
    "here to in on at of by for with from into onto about up down off out away over under near as if than too very "
    "please ok okay hey now currently presently exactly right just ever also still again already else only before "
    "after since until till while during between today lately recently really actually currently together anywhere "
    "somewhere everywhere inside outside around back yet ago robot top next close "
    "usually normally often always sometimes never anyone anybody someone somebody nobody user people closest nearest"
)
GENERIC = _set(
    "thing things object objects item items stuff something anything everything nothing ones kind kinds sort place "
    "places time times event events action actions"
)
THINGS = _set("thing things object objects item items stuff something anything everything nothing")
STATES = _set(
    "empty full clean dirty open closed broken big small heavy light hot cold red green blue black white free"
)
BEYOND = _set("not never except without neither nor most fewest least more fewer less than biggest largest smallest")
FUTURE = _set("will shall tomorrow")
FIRST = _set("first earliest originally initially oldest")
LAST = _set("last latest lastly newest recent finally")
PREVIOUS = _set("previously earlier formerly")
PRONOUNS = _set("it them he she him her they one that this")
SUBJECTS = _set("i you we he she they it robot anyone anybody somebody someone")

_RELATIONS = {
    "on top of": "on", "on": "on", "upon": "on", "atop": "on",
    "inside of": "in", "inside": "in", "in": "in", "within": "in", "into": "in",
    "next to": "near", "close to": "near", "near to": "near", "near": "near", "beside": "near", "by": "near",
    "around": "near", "at": "near", "nearby": "near", "alongside": "near", "with": "with",
    "underneath": "under", "under": "under", "below": "under", "beneath": "under",
    "behind": "behind", "above": "above", "over": "above", "to": "to", "from": "from", "onto": "to",
    "between": "between",
}  # fmt: skip
RELATIONS = {tuple(phrase.split()): name for phrase, name in _RELATIONS.items()}
"""Words of a preposition -> its relation."""

# Canonical verb -> forms that mean the same; regular endings are found by stemming.
_VERBS = {
    "pick": "pick take took taken grab grasp lift fetch collect",
    "place": "place put set lay laid deposit",
    "drop": "drop",
    "leave": "leave left",
    "go": "go goes went gone walk drive drove driven travel enter visit navigate",
    "see": "see saw seen notice spot observe look watch find found detect encounter",
    "move": "move shift displace relocate change",
    "vanish": "vanish disappear missing",
    "tell": "tell told say said mention",
    "do": "do does did done doing happen occur",
    "hold": "hold held carry",
    "open": "open",
    "close": "close shut",
    "clean": "clean wash wipe",
    "give": "give gave given hand",
    "bring": "bring brought deliver",
    "begin": "begin began begun start",
    "finish": "finish end complete",
    "come": "come came",
    "know": "know knew known remember recall",
}
VERB_FORMS = {name: tuple(forms.split()) for name, forms in _VERBS.items()}
"""Verb -> forms to look for in the words of an event."""
_IRREGULAR_PLURALS = {"mice": "mouse", "people": "person", "children": "child", "feet": "foot", "men": "man"}
_CONTRACTIONS = (
    (r"\b(what|where|who|when|how|there|here|that|it|which)'s\b", r"\1 is"),
    (r"\bcan't\b", "can not"), (r"\bwon't\b", "will not"), (r"n't\b", " not"), (r"'re\b", " are"),
    (r"'ve\b", " have"), (r"'ll\b", " will"), (r"'d\b", " did"), (r"'m\b", " am"), (r"'s\b|s'(?=\s|$)", ""),
)  # fmt: skip


def singulars(word: str) -> frozenset[str]:
    """What a word may be the plural of, itself included."""
    found = {word, _IRREGULAR_PLURALS.get(word, word)}
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        found.add(word[:-1])
        if word.endswith("ies"):
            found.add(word[:-3] + "y")
        if word.endswith("ves"):
            found.update((word[:-3] + "f", word[:-3] + "fe"))
        if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
            found.add(word[:-2])
    return frozenset(found)


def base_forms(word: str) -> list[str]:
    """A verb form without its regular endings, most likely first."""
    found = [word]
    for ending in ("ing", "ed", "es", "s"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 1:
            doubled = len(stem) > 3 and stem[-1] == stem[-2]  # dropped -> drop
            found += [stem, stem + "e", *([stem[:-1]] if doubled else [])]
    return found


_VERB_OF = {form: name for name, forms in VERB_FORMS.items() for form in forms}


def known_verb(word: str) -> str:
    """The verb that a word is a form of ("took" -> "pick"), or "" when the word is no verb known here."""
    return next((_VERB_OF[stem] for stem in base_forms(word) if stem in _VERB_OF), "")


def verb_forms(verb: str) -> tuple[str, ...]:
    """The forms by which the word index finds a verb."""
    return VERB_FORMS.get(verb) or tuple(dict.fromkeys(base_forms(verb)))


def plain(text: str) -> str:
    """A question in lower case, contractions written out, without punctuation that says nothing."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    text = text.replace("a.m.", "am").replace("p.m.", "pm")
    for pattern, full in _CONTRACTIONS:
        text = re.sub(pattern, full, text)
    text = re.sub(r"\b(?:the )?day before yesterday\b", "2 days ago", text)
    text = re.sub(r"[^\w\s:.,/'-]|[.,:/'-](?!\w)|(?<!\w)[.,:/'-]", lambda m: "," if m[0] == "," else " ", text)
    return " ".join(text.split())


def tokens(text: str) -> list[str]:
    """The words of a plain text."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text)


@dataclass(frozen=True)
class Vocabulary:
    """What the words of a question can refer to.

    Attributes:
        labels: Names of things.
        rooms: Names of rooms.
        start_ns: The memory's first stamp, ns: second 0 where stamps are no calendar time.
        zone: In which dates and clock times are meant and told.
    """

    labels: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    start_ns: int = 0
    zone: tzinfo = field(default=timezone.utc)

    @classmethod
    def of(cls, memory: EmbodiedMemory, zone: tzinfo = timezone.utc) -> Vocabulary:
        """The names that occur in a memory: labels of objects, of facts and of what events were about."""
        # A loose scan: one look-up a name, however many records bear it.
        sql = (
            "WITH RECURSIVE names(tag) AS (SELECT min(tag) FROM record_tag UNION ALL "
            "SELECT (SELECT min(tag) FROM record_tag WHERE tag > names.tag) FROM names WHERE names.tag IS NOT NULL) "
            "SELECT tag FROM names WHERE tag IS NOT NULL"
        )
        with memory.store.read() as db:
            tags = [str(row[0]) for row in db.execute(sql)]
            start = db.execute("SELECT min(first_ns) FROM record WHERE kind != 'room'").fetchone()[0]
        rooms = tuple(room.label for room in memory.scene.rooms())
        taken = {room.lower() for room in rooms}
        labels = tuple(tag for tag in tags if tag not in taken and not re.fullmatch(r"[a-z]+:\d+", tag))
        return cls(labels=labels, rooms=rooms, start_ns=int(start or 0), zone=zone)

    @cached_property
    def _by_head(self) -> dict[str, list[tuple[str, tuple[str, ...], bool]]]:
        """Last word, in all its singulars -> (name, its words, whether it is a room)."""
        table: dict[str, list[tuple[str, tuple[str, ...], bool]]] = {}
        for names, is_room in ((self.rooms, True), (self.labels, False)):
            for name in names:
                words = tuple(tokens(plain(name)))
                for head in singulars(words[-1]) if words else ():
                    table.setdefault(head, []).append((name, words, is_room))
        return table

    def match(self, words: Sequence[str]) -> tuple[tuple[str, ...], bool]:
        """The names that words mean: those that are the same but for a plural, else those that end with them.

        Returns:
            Names, and whether they are rooms; ((), False) when nothing is called so.
        """
        candidates = [entry for head in sorted(singulars(words[-1])) for entry in self._by_head.get(head, ())]
        if tuple(words) in (("room",), ("rooms",)):  # the word for rooms as such
            return (), False
        exact = [entry for entry in candidates if _same(entry[1], words)]
        found = exact or [entry for entry in candidates if _same(entry[1][-len(words) :], words)]
        is_room = any(entry[2] for entry in found)
        return _unique(name for name, _, room in found if room == is_room), is_room

    @property
    def longest(self) -> int:
        """Words of the longest name."""
        return max((len(entry[1]) for entries in self._by_head.values() for entry in entries), default=1)


def _same(name: Sequence[str], words: Sequence[str]) -> bool:
    return len(name) == len(words) and all(singulars(a) & singulars(b) for a, b in zip(name, words, strict=True))


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
