"""Vectors that came with what was written, by model: exact search among those of one model."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput
from embodmem.index.vectors import NO_VECTOR
from embodmem.types import Encoder

_CHUNK = 4096


class GivenVectors:
    """The table `given_vector`. A model's vectors all have one length; those of two models never meet.

    Args:
        encoder: Of the memory, or None.
    """

    def __init__(self, encoder: Encoder | None) -> None:
        self._encoder = encoder

    def is_own(self, model: str) -> bool:
        """Whether a model is the memory's encoder; "" is."""
        return model == "" or (self._encoder is not None and model == self._encoder.name)

    def check(self, db: sqlite3.Connection, vector: NDArray[np.float32], model: str, what: str) -> str:
        """The name of the model of a vector (D,).

        Raises:
            InvalidInput: Vectors of that model have another length, or "" was said and there is no encoder.
        """
        encoder = self._encoder
        if model == "" and encoder is None:
            raise InvalidInput(
                f"{what}: wanted embedding_model, the name of the model that made the embedding, since this memory is "
                "open without an encoder"
            )
        if encoder is not None and self.is_own(model):
            name, dim = encoder.name, encoder.dim
        else:
            name, dim = model, self.dim(db, model) or len(vector)
        if len(vector) != dim:
            hint = "" if model else ", or embedding_model, the name of another model"
            raise InvalidInput(
                f"{what}: wanted an embedding ({dim},), as the model {name!r} makes them{hint}, got ({len(vector)},)"
            )
        return name

    @staticmethod
    def dim(db: sqlite3.Connection, model: str) -> int:
        """Length of the vectors of a model that are kept; 0 where there are none."""
        sql = "SELECT length(embedding) / 4 FROM given_vector WHERE model = ? LIMIT 1"
        row = db.execute(sql, (model,)).fetchone()
        return 0 if row is None else int(row[0])

    @staticmethod
    def put(db: sqlite3.Connection, number: int, model: str, vector: NDArray[np.float32]) -> None:
        """Keep the vector of a record."""
        db.execute("INSERT OR REPLACE INTO given_vector VALUES (?, ?, ?)", (number, model, vector.tobytes()))

    @staticmethod
    def of(db: sqlite3.Connection, number: int) -> tuple[str, NDArray[np.float32]] | None:
        """Model and vector (D,) that came with a record."""
        row = db.execute("SELECT model, embedding FROM given_vector WHERE id = ?", (number,)).fetchone()
        return None if row is None else (str(row[0]), np.frombuffer(row[1], np.float32))

    def own(self, db: sqlite3.Connection, numbers: list[int]) -> dict[int, bytes]:
        """Of these records, those that came with a vector of the encoder's own model."""
        if self._encoder is None or db.execute("SELECT 1 FROM given_vector LIMIT 1").fetchone() is None:
            return {}
        sql = "SELECT id, embedding FROM given_vector WHERE model = ? AND id IN (SELECT value FROM json_each(?))"
        size = 4 * self._encoder.dim
        found = db.execute(sql, (self._encoder.name, json.dumps(numbers)))
        return {number: blob for number, blob in found if len(blob) == size}

    def scores(
        self, db: sqlite3.Connection, ids: NDArray[np.int64], vector: NDArray[np.float32], model: str
    ) -> NDArray[np.float64]:
        """Cosine of each record (N,) with a vector of unit norm (D,); -1 for one without a vector of that model.

        Raises:
            InvalidInput: Vectors of that model have another length.
        """
        scores = np.full(len(ids), NO_VECTOR)
        if not self.dim(db, model):
            return scores
        self.check(db, vector, model, "query")
        for numbers, vectors in self._read(db, model, len(vector)):
            at = np.searchsorted(ids, numbers)
            at[at == len(ids)] = 0
            wanted = ids[at] == numbers if len(ids) else np.zeros(len(numbers), np.bool_)
            scores[at[wanted]] = vectors[wanted] @ vector
        return scores

    @staticmethod
    def _read(db: sqlite3.Connection, model: str, dim: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        cursor = db.execute("SELECT id, embedding FROM given_vector WHERE model = ? ORDER BY id", (model,))
        while found := cursor.fetchmany(_CHUNK):
            joined = b"".join([row[1] for row in found])
            yield np.array([row[0] for row in found], np.int64), np.frombuffer(joined, np.float32).reshape(-1, dim)


def carry_over(db: sqlite3.Connection, old: int, new: int) -> None:
    """Give a record what another one came with: its vector, its action, its modality."""
    db.execute(
        "INSERT OR IGNORE INTO given_vector SELECT ?, model, embedding FROM given_vector WHERE id = ?", (new, old)
    )
    db.execute(
        "INSERT OR IGNORE INTO event_content SELECT ?, digest, action, modality FROM event_content WHERE id = ?",
        (new, old),
    )
