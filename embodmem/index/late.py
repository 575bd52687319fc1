"""Late interaction: words of a question laid on words of a text, each as its sentence makes it mean."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embodmem.index.hydrate import among
from embodmem.index.pieces import Codes, codes_of, cosines
from embodmem.types import Encoder

HELD_BYTES = 32 << 20
"""Bytes of codes that are held for texts that come again."""

HELD_QUESTIONS = 64
"""So many of the texts that were encoded last keep the whole vectors of their pieces: a question is laid on texts right
after it was encoded."""

_AT_ONCE = 64

Pieces = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Where T pieces stand, (T, 2) first letter and end, and their vectors (T, D), unit norm."""


@runtime_checkable
class WordEncoder(Encoder, Protocol):
    """An encoder that also gives a vector for each piece of a text."""

    def encode_words(self, texts: Sequence[str]) -> list[Pieces]:
        """For each text: where its T pieces stand, (T, 2) first letter and end; their vectors (T, dim), unit norm."""


@runtime_checkable
class OnePassEncoder(Protocol):
    """An encoder that makes the vectors of a text and of its pieces at once."""

    def encode_both(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[Pieces]]:
        """What `encode` and `encode_words` give."""


@runtime_checkable
class HoldsTexts(Protocol):
    """Something that holds texts, or words of them, in RAM."""

    def drop_held(self) -> None:
        """Let go of them."""


@runtime_checkable
class KnowsWords(Protocol):
    """An encoder that knows how common words are."""

    def word_shares(self, words: Sequence[str]) -> NDArray[np.float64]:
        """(N,) part of all words of running text that each is; NaN where it does not know."""


class Late:
    """Scores texts by soft alignment (ColBERT's MaxSim, Khattab and Zaharia, SIGIR 2020, eq. 3).

    Unlike there, a word of the question counts by its rarity, and texts are held as the signs of their vectors.
    """

    def __init__(self, encoder: WordEncoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()
        self._held: dict[str, Codes] = {}
        self._bytes = 0
        self._asked: dict[str, Pieces] = {}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, dim) of texts, as the encoder makes them; what it says of their words is held."""
        made = [np.empty((0, self._encoder.dim), np.float32)]
        for begin in range(0, len(texts), _AT_ONCE):  # pieces of thousands of texts would fill the memory
            some = texts[begin : begin + _AT_ONCE]
            if isinstance(self._encoder, OnePassEncoder):
                vectors, pieces = self._encoder.encode_both(some)
            else:
                vectors, pieces = self._encoder.encode(some), self._encoder.encode_words(some)
            made.append(vectors)
            self._hold(some, pieces)
        return np.concatenate(made)

    def drop_held(self) -> None:
        """Let go of all texts that are held."""
        with self._lock:
            self._held, self._bytes, self._asked = {}, 0, {}

    def _hold(self, texts: Sequence[str], pieces: Sequence[Pieces]) -> list[Codes]:
        codes = [codes_of(text, *piece) for text, piece in zip(texts, pieces, strict=True)]
        with self._lock:
            for text, code, piece in zip(texts, codes, pieces, strict=True):
                old = self._held.pop(text, None)
                self._bytes += code.nbytes - (0 if old is None else old.nbytes)
                self._held[text] = code
                self._asked.pop(text, None)
                self._asked[text] = piece
            for text in list(islice(self._asked, max(0, len(self._asked) - HELD_QUESTIONS))):
                del self._asked[text]
            for text in list(islice(self._held, len(self._held) - 1)):
                if self._bytes <= HELD_BYTES:
                    break
                self._bytes -= self._held.pop(text).nbytes
        return codes

    def _pieces(self, question: str) -> Pieces:
        with self._lock:
            pieces = self._asked.get(question)
        if pieces is None:
            made = self._encoder.encode_words([question])
            self._hold([question], made)
            pieces = made[0]
        return pieces

    def codes(self, texts: Sequence[str]) -> list[Codes]:
        """Codes of the pieces of texts; those of texts that were encoded last are held."""
        with self._lock:
            known = {text: self._held[text] for text in dict.fromkeys(texts) if text in self._held}
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        for begin in range(0, len(fresh), _AT_ONCE):
            some = fresh[begin : begin + _AT_ONCE]
            known.update(zip(some, self._hold(some, self._encoder.encode_words(some)), strict=True))
        return [known[text] for text in texts]

    def of(self, db: sqlite3.Connection, ids: NDArray[np.int64], texts: Sequence[str]) -> list[Codes]:
        """Codes of records (N,): those of the file, or, of what stands there without, of these texts (N,)."""
        given, values = among(ids.tolist())
        stored: dict[int, bytes] = dict(db.execute(f"SELECT id, codes FROM record_pieces WHERE id {given}", values))
        wide = -(-self._encoder.dim // 8)
        codes = {number: np.frombuffer(blob, np.uint8).reshape(-1, wide) for number, blob in stored.items()}
        lacking = {n: text for n, text in zip(ids.tolist(), texts, strict=True) if n not in codes}
        codes.update(zip(lacking, self.codes(list(lacking.values())), strict=True))
        return [codes[number] for number in ids.tolist()]

    def scores(self, question: str, weights: Mapping[str, float], codes: Sequence[Codes]) -> NDArray[np.float64]:
        """(N,) of texts, 0..1.

        Args:
            question: Its words are laid on those of the texts.
            weights: What each of its words in lower case counts; others count nothing.
            codes: (N,) of the texts to score.
        """
        places, asked = self._pieces(question)
        weight = np.zeros(len(places))
        at = 0
        letters = question.lower()
        for word, worth in weights.items():
            at = letters.find(word)
            while at >= 0:
                inside = (places[:, 0] >= at) & (places[:, 1] <= at + len(word))
                weight[inside] = np.maximum(weight[inside], worth / max(int(inside.sum()), 1))
                at = letters.find(word, at + len(word))
        made = np.zeros(len(codes))
        some = [i for i, code in enumerate(codes) if len(code)]
        if not some or not weight.any():
            return made
        starts = np.cumsum([0, *(len(codes[i]) for i in some[:-1])])
        cosine = np.maximum(cosines(asked[weight > 0], np.concatenate([codes[i] for i in some])), 0.0)
        best = np.maximum.reduceat(cosine, starts, axis=1).astype(np.float64)
        made[some] = weight[weight > 0] @ best / weight.sum()
        return made
