"""Vectors lose bits with age and come back whole with use (SuperLocalMemory V3.3, 2026: quantised as it fades)."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from embodmem.config import LifecycleConfig
from embodmem.index import Records
from embodmem.index.bits import SQL_BITS, WHOLE, pack, unpack
from embodmem.lifecycle.changes import Changes
from embodmem.lifecycle.forgetting import Forgetting


class Ageing:
    """Keeps the vector of a record in as many bits as its retention earns; its text stays, from which it is made anew.

    Args:
        records: Of the memory.
        changes: Where it is logged.
        forgetting: Knows what is retained, here with a half-life of its own.
        config: The half-life, and from which retention on how many bits are left.
    """

    def __init__(self, records: Records, changes: Changes, forgetting: Forgetting, config: LifecycleConfig) -> None:
        self.records, self.changes, self.forgetting, self.config = records, changes, forgetting, config
        self.store = records.store

    def step(self, now_ns: int, limit: int) -> tuple[int, int]:
        """Thin out vectors, and make those anew that are in use again, `limit` of each at most.

        Returns:
            How many lost bits, and how many were made anew.
        """
        if not self.config.vector_half_life_s or self.records.encoder is None:
            return 0, 0
        ids, wanted = self._wanted(now_ns)
        with self.store.transaction() as db:
            sql = f"SELECT id, {SQL_BITS.format('embedding')} FROM record_vector ORDER BY id"
            held = np.array(db.execute(sql).fetchall(), dtype=np.int64).reshape(-1, 2)
            at = np.minimum(np.searchsorted(held[:, 0], ids), max(len(held) - 1, 0))
            known = held[at, 0] == ids if len(held) else np.zeros(len(ids), np.bool_)
            ids, wanted, bits = ids[known], wanted[known], held[at[known], 1] if len(held) else wanted[known]
            thinned = sum(
                self._thin(ids[(bits > w) & (wanted == w)][:limit], int(w), now_ns) for w in np.unique(wanted)
            )
            again = ids[bits < wanted][:limit]
            if len(again):
                self.records.encode_again(again.tolist())
                self.changes.note(now_ns, "renew", f"{len(again)} vectors made anew from their texts: they are in use")
        return thinned, len(again)

    def _wanted(self, now_ns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row ids (N,) of what can fade or is pinned, ascending, and how many bits (N,) each has earned."""
        ids, retained, _ = self.forgetting.retention(now_ns, self.config.vector_half_life_s)
        wanted = np.full(len(ids), WHOLE, np.int64)
        for below, bits in sorted(self.config.vector_bits, reverse=True):
            wanted[retained < below] = bits
        with self.store.read() as db:
            pinned = np.array([row[0] for row in db.execute("SELECT id FROM life WHERE pinned")], dtype=np.int64)
        ids, wanted = np.append(ids, pinned), np.append(wanted, np.full(len(pinned), WHOLE))
        order = np.argsort(ids, kind="stable")
        return ids[order], wanted[order]

    def _thin(self, ids: NDArray[np.int64], bits: int, now_ns: int) -> int:
        if not len(ids) or self.records.encoder is None:
            return 0
        with self.store.transaction() as db:
            chosen = json.dumps(ids.tolist())
            sql = "SELECT id, embedding FROM record_vector WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
            rows = db.execute(sql, (chosen,)).fetchall()
            has, vectors = unpack([blob for _, blob in rows], self.records.encoder.dim)
            blobs = pack(vectors[has], bits)
            numbers = [row[0] for row, there in zip(rows, has.tolist(), strict=True) if there]
            # Rows that shrink where they are leave gaps; pages that deletion has emptied are free.
            db.execute("DELETE FROM record_vector WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(numbers),))
            db.executemany("INSERT INTO record_vector VALUES (?, ?)", zip(numbers, blobs, strict=True))
            self.changes.note(
                now_ns, "thin", f"{len(numbers)} vectors to {bits} bits: what they are of was little used"
            )
        return len(numbers)
