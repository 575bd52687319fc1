"""What a fragment of a vector calls up, through an associative store over the newest events and views."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from embodmem.config_episodic import FragmentConfig
from embodmem.episodic.associative import Hopfield, Superposition
from embodmem.errors import InvalidInput
from embodmem.index import Records
from embodmem.index.bits import unpack
from embodmem.store.changes import Changed
from embodmem.types import Recall

_LONGEST_LOG = 10_000


class Fragments:
    """One store for each model of vectors; each is filled when it is first asked and follows what changes.

    Args:
        records: Of the memory.
        config: Which store, and its bounds.
    """

    def __init__(self, records: Records, config: FragmentConfig) -> None:
        self._records, self._config, self._store = records, config, records.store
        self._filled: dict[str, Hopfield | Superposition] = {}
        self._changed: set[int] | None = set()
        self._version = 0
        self._mutex = threading.Lock()
        self._log_mutex = threading.Lock()
        self._store.on_change.append(self._note)

    def _note(self, state: int, changed: Changed | None) -> None:
        with self._log_mutex:
            if changed is None or self._changed is None or len(self._changed) + len(changed.records) > _LONGEST_LOG:
                self._changed = None
            else:
                self._changed.update(changed.records)

    def call_up(self, fragment: ArrayLike, k: int, model: str, kinds: tuple[str, ...]) -> list[Recall]:
        """See `EpisodicMemory.from_fragment`; `kinds` are those of the records that take part."""
        asked = np.asarray(fragment, np.float32)
        if asked.ndim != 1 or np.isinf(asked).any() or np.isnan(asked).all():
            raise InvalidInput(f"fragment: wanted a vector (D,), NaN where it is not known, got {asked.shape}")
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        if self._records.encoder is not None and self._records.given.is_own(model):
            model = self._records.encoder.name
        with self._mutex:
            store = self._followed(model, kinds)
            if store is None or not len(store):
                return []
            if len(asked) != store.dim:
                raise InvalidInput(
                    f"fragment: wanted ({store.dim},), as the model {model!r} makes them, got {asked.shape}"
                )
            ids, scores = store.recall(asked[None], k)
        found = {item.id.rpartition(":")[2]: item for item in self._records.get(ids[0].tolist())}
        best = [(found[str(i)], float(s)) for i, s in zip(ids[0], scores[0], strict=True) if str(i) in found]
        return [replace(item, score=score, why={"fragment": score}) for item, score in best]

    def _followed(self, model: str, kinds: tuple[str, ...]) -> Hopfield | Superposition | None:
        """The store of a model as of now; None where there is no vector of it."""
        version = self._store.foreign_version()
        with self._log_mutex:
            changed, self._changed = self._changed, set()
        if changed is None or version != self._version:
            self._filled, changed, self._version = {}, set(), version
        gone = np.array(sorted(changed), np.int64)
        for name, store in self._filled.items():
            if len(gone):
                store.forget(gone)
                self._fill(
                    store, name, kinds, "AND r.id IN (SELECT value FROM json_each(?))", (json.dumps(gone.tolist()),)
                )
        if model not in self._filled:
            dim = self._dim(model)
            if not dim:
                return None
            self._filled[model] = self._made(dim)
            self._fill(self._filled[model], model, kinds, "", ())
        return self._filled[model]

    def _dim(self, model: str) -> int:
        encoder = self._records.encoder
        if encoder is not None and model == encoder.name:
            return encoder.dim
        with self._store.read() as db:
            return self._records.given.dim(db, model)

    def _made(self, dim: int) -> Hopfield | Superposition:
        if self._config.store == "hopfield":
            return Hopfield(dim, int(self._config.max_mib * 2**20), self._config.beta)
        return Superposition(dim, self._config.units, self._config.active)

    def _fill(
        self, store: Hopfield | Superposition, model: str, kinds: tuple[str, ...], more: str, values: tuple[str, ...]
    ) -> None:
        """Write the newest live records that have a vector of the model, in the order of writing."""
        own = self._records.encoder is not None and model == self._records.encoder.name
        table = "record_vector" if own else "given_vector"
        named = "" if own else "AND v.model = ? "
        sql = (
            f"SELECT v.id, v.embedding FROM {table} v JOIN record r ON r.id = v.id WHERE r.live {named}"
            f"AND r.kind IN (SELECT value FROM json_each(?)) {more} "
            "ORDER BY v.id DESC LIMIT ?"
        )
        given = (*(() if own else (model,)), json.dumps(kinds), *values, store.capacity)
        with self._store.read() as db:
            rows = db.execute(sql, given).fetchall()[::-1]
        has, vectors = unpack([row[1] for row in rows], store.dim)
        store.write(np.array([row[0] for row in rows], np.int64)[has], vectors[has])
