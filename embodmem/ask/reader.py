"""Reads one clause: who does what, to which things, where."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from embodmem.ask import words as w
from embodmem.ask.words import Vocabulary

_ASKS = (
    (r"how (?:often|many times)\b", "how_often"),
    (r"(?:how many|count|what number of)\b", "how_many"),
    (r"(?:how long ago|(?:at |since )?what time|since when|when)\b", "when"),
    (r"(?:(?:in|to|from) )?(?:which|what) rooms?\b(?= (?:is|are|was|were|has|have|had|contains?|did)\b)", "which_room"),
    (r"(?:where|whereabouts|find|locate|look for|search for)\b", "where"),
    (r"(?:who|whom|whose)\b", "who"),
    (r"why\b", "why"),
    (r"(?:what|which|list|show|name|describe)\b", "what"),
    (r"(?:is|are|was|were|did|do|does|have|has|had|any)\b", "yes_no"),
)  # fmt: skip
_HOLDERS = ("has", "have", "had")
_ORDERS = {
    word: name for name, group in (("first", w.FIRST), ("last", w.LAST), ("previous", w.PREVIOUS)) for word in group
}


_NEAREST = {"closest", "nearest"}


@dataclass(slots=True)
class Reading:
    """What a clause speaks of; see `Question` for the fields of the same name.

    Attributes:
        asks: Kind of question by its first words, or "".
        subject: "you", "i", ... or "".
        generic: It speaks of "things" or "anything".
        there: It says "there".
        beyond: It negates or compares, which no rule covers.
        counts_rooms: It speaks of rooms as such.
        changes: It asks for changes of any kind, not only for moves.
        unknown_landmark: What it is on or in has no name in the memory.
        leftover: Words that nothing explains.
        content: All words that say something.
    """

    asks: str = ""
    subject: str = ""
    verb: str = ""
    order: str = ""
    labels: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    relation: str = ""
    landmark: tuple[str, ...] = ()
    room: str | None = None
    generic: bool = False
    there: bool = False
    beyond: bool = False
    counts_rooms: bool = False
    changes: bool = False
    unknown_landmark: bool = False
    leftover: tuple[str, ...] = ()
    content: tuple[str, ...] = ()
    used: set[int] = field(default_factory=set)


def read(text: str, vocabulary: Vocabulary) -> Reading:
    """Read a plain text without times."""
    r = Reading()
    for pattern, asks in _ASKS:
        found = re.match(pattern, text)
        if found is not None:
            r.asks = asks
            r.used.update(range(len(w.tokens(found[0]))))
            break
    said = w.tokens(text)
    r.generic = bool(w.THINGS & set(said))
    r.beyond = bool(w.BEYOND & set(said))
    r.there = "there" in said
    r.changes = bool({"changed", "change", "different", "new"} & set(said))
    r.order = next((_ORDERS[word] for word in said if word in _ORDERS), "")
    if _NEAREST & set(said):
        r.order = "nearest"
    r.subject = next((word for word in said if word in w.SUBJECTS and word not in ("it", "one")), "")
    _mentions(said, vocabulary, r)
    _verb(said, r)
    _unexplained(said, r)
    r.content = tuple(
        word
        for word in said
        if word not in w.FUNCTION_WORDS - {"to"} - w.FIRST and word not in w.GENERIC and word != "to"
    )
    return r


def _mentions(said: list[str], vocabulary: Vocabulary, r: Reading) -> None:
    """Find the names of things and rooms, longest first, and what they are related by."""
    i = 0
    while i < len(said):
        length, names, is_room = _longest(said, i, vocabulary, r.used)
        if not length:
            i += 1
            continue
        relation, begin = _relation_before(said, i)
        r.used.update(range(i, i + length))
        if is_room:
            r.room = r.room or names[0]
            r.used.update(range(begin, i))
        elif relation and relation not in ("to", "with") and not _is_particle(said, begin):
            r.relation, r.landmark = relation, names
            r.used.update(range(begin, i))
        elif relation == "to" and _NEAREST & set(said):
            r.relation, r.landmark = "near", names  # "the closest thing to the sofa"
            r.used.update(range(begin, i))
        elif relation == "to" and r.labels:
            r.used.update(range(begin, i))  # "moved the mug to the table": the table is no second target
            r.landmark, r.relation = names, "to"
        else:
            r.labels = tuple(dict.fromkeys((*r.labels, *names)))
        i += length
    last = w.RELATIONS.get(tuple(said[-2:])) or w.RELATIONS.get(tuple(said[-1:]), "")  # "what is the mug on"
    if r.asks == "what" and last == "near" and not r.relation:
        r.relation, r.landmark, r.labels = last, r.labels, ()  # "what is the mug next to"
    elif not r.relation and last not in ("to", "from", "with"):
        r.relation = last


def _longest(said: list[str], i: int, vocabulary: Vocabulary, used: set[int]) -> tuple[int, tuple[str, ...], bool]:
    for length in range(min(vocabulary.longest, len(said) - i), 0, -1):
        if any(j in used for j in range(i, i + length)):
            continue
        names, is_room = vocabulary.match(said[i : i + length])
        if names and said[i : i + length] == ["robot"]:  # the body itself
            continue
        doubtful = length == 1 and (said[i] in w.FUNCTION_WORDS or w.known_verb(said[i]))
        if names and not (doubtful and (i == 0 or said[i - 1] not in w.DETERMINERS)):
            return length, names, is_room
    return 0, (), False


def _relation_before(said: list[str], i: int) -> tuple[str, int]:
    """The relation that the words before a name state, and where those begin."""
    end = i
    while end > 0 and said[end - 1] in w.DETERMINERS:
        end -= 1
    for skipped in range(3):  # up to two words say which: "on the small wooden table"
        at = end - skipped
        if at <= 0 or (skipped and (said[at] in w.FUNCTION_WORDS or w.known_verb(said[at]))):
            break
        while skipped and at > 0 and said[at - 1] in w.DETERMINERS:
            at -= 1
        for length in (3, 2, 1):
            relation = w.RELATIONS.get(tuple(said[max(at - length, 0) : at])) if at >= length else None
            if relation:
                return relation, at - length
    return "", i


def _is_particle(said: list[str], begin: int) -> bool:
    """Whether a preposition belongs to the verb before it: "look at the mug", "take in"."""
    before = said[begin - 1] if begin else ""
    return said[begin] == "at" and w.known_verb(before) == "see" or before in ("turn", "turned", "switch", "switched")


def _verb(said: list[str], r: Reading) -> None:
    """The main verb: a known one, or the word after the subject ("did you calibrate")."""
    for i, word in enumerate(said):
        if i in r.used or word in w.DETERMINERS or (i and said[i - 1] in w.DETERMINERS):
            continue
        before = said[i - 1] if i else ""
        after_subject = before in w.SUBJECTS or (before in _ORDERS and i > 1 and said[i - 2] in w.SUBJECTS)
        auxiliary = word in ("do", "did", "does", "have", "has", "had", "having")
        if auxiliary and not after_subject:
            continue
        if auxiliary and word in _HOLDERS and after_subject:
            if i + 1 < len(said) and i + 1 not in r.used and w.known_verb(said[i + 1]):
                continue  # "I have told you"
            r.verb = r.verb or "hold"
            r.used.add(i)
            continue
        verb = "do" if auxiliary else w.known_verb(word)
        if not verb and after_subject and word not in w.FUNCTION_WORDS and word not in _ORDERS and r.subject:
            verb = word  # the word index knows its regular forms
        if verb and (word not in w.GENERIC or after_subject) and (not r.verb or r.verb in ("do", "know")):
            r.verb = verb
            r.used.add(i)
    if not r.verb and r.asks == "who" and len(said) > 1 and said[1] in _HOLDERS:
        r.verb = "hold"
    if not r.verb and {"hand", "hands", "gripper"} & set(said) and r.asks == "what":
        r.verb = "hold"


def _unexplained(said: list[str], r: Reading) -> None:
    """Words that no name, verb or function explains: attributes of a name, or things without one."""
    rooms = {"room", "rooms"}
    r.counts_rooms = r.room is None and bool(rooms & set(said))
    runs: list[list[int]] = []
    for i, word in enumerate(said):
        plain_word = word not in w.FUNCTION_WORDS and word not in w.GENERIC and word not in _ORDERS
        if i in r.used or not plain_word or word.isdecimal() or word in rooms:
            continue
        if runs and runs[-1][-1] == i - 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    names = {i for i in r.used if said[i] not in w.FUNCTION_WORDS}
    for run in runs:
        phrase = " ".join(said[i] for i in run)
        if run[-1] + 1 in names and not w.known_verb(said[run[-1] + 1]):
            r.attributes += tuple(said[i] for i in run)
            continue
        r.leftover += tuple(said[i] for i in run)
        relation, _ = _relation_before(said, run[0])
        if relation and relation not in ("to", "with", "from"):
            r.relation, r.unknown_landmark = relation, True
        if phrase not in ("far", "all"):
            r.unknown += (phrase,)
