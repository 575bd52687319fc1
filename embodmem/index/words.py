"""Words of a text, for the word index."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.index.kin import NOT_A_WORD, number_of

_STOP = """a about all am an and any are as at be been but by can could did do does for from had has have he her here
him his how i if in into is it its last latest me more must my no not of on or our shall she should so some than that
the their them then there these they this those to was we were what when where which who whose why will with would you
your"""

STOP_WORDS = frozenset(_STOP.split())
"""Words that say nothing about what is looked for."""

TOKENIZE = "porter unicode61 remove_diacritics 2"
"""How the word index takes texts apart (`store.schema`)."""

_HELD_WORDS = 65_536

_BETWEEN = "\0"
_WORD, _WORD_OR_BETWEEN = re.compile(r"[^\W_]+"), re.compile(rf"[^\W_]+|{_BETWEEN}")


def words(text: str) -> list[str]:
    """The lower-case words of a text, in order, repeats included."""
    return re.findall(r"\w+", text.lower())


def content_words(text: str) -> list[str]:
    """The words that say what a text is about, each once; all of them when there are only stop words."""
    found = list(dict.fromkeys(words(text)))
    return [word for word in found if word not in STOP_WORDS] or found


def match_expression(text: str, every: bool = False) -> str:
    """An FTS5 expression that matches any content word of a text (or every one); "" when the text has no words."""
    return (" AND " if every else " OR ").join(f'"{word}"' for word in content_words(text))


def sentences(text: str, at_most: int = 8) -> list[str]:
    """The sentences of a text, the last one with all that is left; [] of an empty one."""
    return [part for part in re.split(r"(?<=[.!?;])\s+", text.strip(), maxsplit=at_most - 1) if part]


def parts_of(text: str | None) -> list[str]:
    """A text to search by, and its sentences where it has several; [] of None."""
    if text is None:
        return []
    found = sentences(text)
    return [text, *found] if len(found) > 1 else [text]


def _plain(text: str) -> str:
    if text.isascii():  # as most are: nothing of it comes apart
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


class Stemmer:
    """Word stems as the word index makes them: SQLite's own tokenizer does it, in a database in RAM.

    A word is taken apart once and held; any thread may ask.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._db: sqlite3.Connection | None = None
        self._stop: frozenset[str] = frozenset()

    def stop_stems(self) -> frozenset[str]:
        """The stems of `STOP_WORDS`."""
        if not self._stop:
            self._stop = frozenset(stem for stems in self.stems(sorted(STOP_WORDS)) for stem in stems)
        return self._stop

    def drop_held(self) -> None:
        """Let go of all words that are held."""
        with self._lock:
            self._held, self._numbers = {}, {}
            if self._db is not None:
                self._db.close()  # pages in RAM, too, keep what was deleted from them
                self._db = None

    def stems(self, texts: Sequence[str]) -> list[list[str]]:
        """The stems of each text, in order, repeats included."""
        split = [_WORD.findall(_plain(text)) for text in texts]
        with self._lock:
            self._learn({word for found in split for word in found})
            return [[self._held[word] for word in found] for found in split]

    def numbers(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The stems of texts (N,), one after the other, as numbers (W,), repeats included; how many each has (N,).

        A number (`kin.number_of`) holds for this process alone.
        """
        if not texts:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        joined = _BETWEEN.join(texts)
        if joined.count(_BETWEEN) >= len(texts):
            joined = _BETWEEN.join(text.replace(_BETWEEN, " ") for text in texts)
        split = _WORD_OR_BETWEEN.findall(_plain(joined))
        said = set(split)
        said.discard(_BETWEEN)
        with self._lock:
            self._learn(said)
            held = self._numbers
            held.update((word, number_of(self._held[word])) for word in [word for word in said if word not in held])
            number = {word: held[word] for word in said}
        number[_BETWEEN] = NOT_A_WORD
        found = np.fromiter(map(number.__getitem__, split), np.int64, len(split))
        between = found == NOT_A_WORD
        ends = np.append(between.nonzero()[0], len(found)) - np.arange(len(texts))
        return found[~between], np.diff(ends, prepend=0)

    def _learn(self, said: set[str]) -> None:
        """Hold the stems of these words, at least."""
        if len(self._held) > _HELD_WORDS:
            self._held, self._numbers = {}, {}
        rows = []
        for i, word in enumerate([word for word in said if word not in self._held]):
            if word.isascii() and word.isdigit():  # a number has no ending
                self._held[word] = word
            else:
                rows.append((i, word))
        if not rows:
            return
        if self._db is None:
            db = sqlite3.connect(":memory:", check_same_thread=False)
            db.execute(f"CREATE VIRTUAL TABLE word USING fts5 (text, tokenize='{TOKENIZE}')")
            db.execute("CREATE VIRTUAL TABLE stem USING fts5vocab (word, instance)")
            self._db = db
        # All in one row: see `LaidRecords.lay_more`.
        pair = "json_extract(value, '$[0]'), json_extract(value, '$[1]')"
        self._db.execute(f"INSERT INTO word (rowid, text) SELECT {pair} FROM json_each(?)", (json.dumps(rows),))
        stems = "SELECT doc, min(term) AS term FROM stem GROUP BY doc"
        (found,) = self._db.execute(f"SELECT json_group_array(json_array(doc, term)) FROM ({stems})").fetchone()
        stem_of = dict(json.loads(found))
        self._db.execute("DELETE FROM word")
        self._held.update((word, stem_of.get(i, word)) for i, word in rows)
