"""What fades: retention after Ebbinghaus, strengthened by use, and a budget of bytes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.config import LifecycleConfig
from embodmem.episodic.summaries import let_go
from embodmem.index import Records
from embodmem.lifecycle.changes import Changes

_FADING = "('event', 'keyframe', 'item')"
_RECORD_BYTES = 400
"""About what a record takes in the file beside its texts, its vector and its picture: rows of indexes."""

_WORD_PAGES = 1000
"""Pages of the word index that are merged, at most, before anything goes for its bytes."""

_SUMMARIES = 64
"""Summaries that go at once."""


class Forgetting:
    """Chooses what to forget; pins stay.

    Retention is R = 2^(-t / S), t the time since a record was last seen or recalled, and S = half_life * (1 + uses) *
    significance (MemoryBank, Zhong et al., AAAI 2024, section 2.3: R = e^(-t/S), S grows by 1 with each recall and t
    begins anew). What a person told or what earned a reward is more significant.

    Args:
        records: Of the memory.
        changes: The log.
        config: Half-life, threshold and budget.
    """

    def __init__(self, records: Records, changes: Changes, config: LifecycleConfig) -> None:
        self.records, self.changes, self.config = records, changes, config
        self.store = records.store

    def retention(
        self, now_ns: int, half_life_s: float | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Of all live records that can fade and are not pinned.

        Args:
            now_ns: What time it is, ns.
            half_life_s: Of what was never used; None takes that of the settings.

        Returns:
            ids (N,), R (N,) in 0..1 (1 for all without a half-life), and about how many bytes each takes (N,).
        """
        significant = json.dumps(self.config.significant)
        sql = (
            "SELECT r.id, max(r.last_ns, ifnull(l.used_ns, 0)), ifnull(l.uses, 0), "
            "r.subkind IN (SELECT value FROM json_each(?)) OR json_extract(r.data, '$.reward') IS NOT NULL, "
            "2 * length(r.text) + length(r.data) + ifnull(length(k.image), 0) + ifnull(length(v.embedding), 0) "
            "+ ifnull(length(p.codes), 0) "
            "FROM record r LEFT JOIN record_vector v ON v.id = r.id LEFT JOIN record_pieces p ON p.id = r.id "
            "LEFT JOIN life l ON l.id = r.id LEFT JOIN keyframe k ON k.id = r.id "
            f"WHERE r.live AND r.kind IN {_FADING} AND NOT ifnull(l.pinned, 0) ORDER BY r.id"
        )
        with self.store.read() as db:
            table = np.array(db.execute(sql, (significant,)).fetchall(), dtype=np.float64).reshape(-1, 5)
        ids, last_ns, uses, told, content = table.T
        size = _RECORD_BYTES + content
        half_life_s = self.config.half_life_s if half_life_s is None else half_life_s
        if not half_life_s:
            return ids.astype(np.int64), np.ones(len(ids)), size
        weight = np.where(told > 0, self.config.significance, 1.0)
        strength_ns = half_life_s * 1e9 * (1.0 + uses) * weight
        retained = np.exp2(-np.maximum(now_ns - last_ns, 0.0) / strength_ns)
        return ids.astype(np.int64), retained, size

    def fade(self, now_ns: int, limit: int) -> int:
        """Take out of recall what is retained less than `forget_below`, the faintest first; returns how many."""
        if not self.config.half_life_s or not self.config.forget_below:
            return 0
        ids, retained, _ = self.retention(now_ns)
        faint = np.flatnonzero(retained < self.config.forget_below)
        chosen = ids[faint[np.argsort(retained[faint], kind="stable")[:limit]]]
        if len(chosen):
            why = f"retention below {self.config.forget_below:g}"
            self.changes.note(now_ns, "retire", why, [int(i) for i in chosen])
        return len(chosen)

    def expire(self, now_ns: int, limit: int) -> int:
        """Take out of recall whose time has come; returns how many."""
        sql = (
            "SELECT l.id FROM life l JOIN record r ON r.id = l.id WHERE l.expires_ns <= ? AND r.live AND NOT l.pinned "
            "ORDER BY l.expires_ns LIMIT ?"
        )
        with self.store.transaction() as db:
            ids = [int(row[0]) for row in db.execute(sql, (now_ns, limit))]
            if ids:
                self.changes.note(now_ns, "expire", "its time has come", ids)
        return len(ids)

    def used_bytes(self) -> int:
        """Bytes of the file that are in use."""
        with self.store.read() as db:
            one = {name: int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "page_count")}
            free = int(db.execute("PRAGMA freelist_count").fetchone()[0])
        return one["page_size"] * (one["page_count"] - free)

    def shrink(self, now_ns: int, limit: int) -> tuple[int, bool]:
        """Drop at once what is worth least for its bytes, until the file fits its budget, `limit` records at most.

        Returns:
            How many went, and whether the file now fits, or holds nothing more that may go.
        """
        budget = int(self.config.budget_mib * 2**20)
        excess = self.used_bytes() - budget if budget else 0
        if excess <= 0:
            return 0, True
        with self.store.transaction() as db:  # what was removed stands in the word index until its parts are merged
            db.execute("INSERT INTO record_words (record_words, rank) VALUES ('merge', ?)", (-_WORD_PAGES,))
        excess = self.used_bytes() - budget
        if excess <= 0:
            return 0, True
        # What is out of recall already goes first; it is only kept to be taken back.
        settled = self.changes.settle(now_ns + 1, limit)
        if settled:
            return len(settled), False
        ids, retained, size = self.retention(now_ns)
        order = np.lexsort((ids, retained))
        enough = int(np.searchsorted(np.cumsum(size[order]), excess)) + 1
        chosen = ids[order[: min(enough, limit)]]
        if not len(chosen):
            return self._drop_summaries(now_ns, min(limit, _SUMMARIES))
        return self._drop(chosen, now_ns, f"the file holds {excess} bytes more than its budget"), not len(chosen)

    def _drop_summaries(self, now_ns: int, limit: int) -> tuple[int, bool]:
        """When nothing else may go: let go of summaries, the shortest and oldest first."""
        pinned = "SELECT id FROM life WHERE pinned"
        sql = f"SELECT id FROM summary WHERE id NOT IN ({pinned}) ORDER BY scale_ns, begin_ns LIMIT ?"
        with self.store.transaction() as db:
            ids = [int(row[0]) for row in db.execute(sql, (limit,))]
            if ids:
                let_go(self.records, db, ids)
                self.changes.note(now_ns, "drop", f"{len(ids)} summaries: the file holds more than its budget")
        return len(ids), not ids

    def _drop(self, ids: NDArray[np.int64], now_ns: int, why: str) -> int:
        with self.store.transaction():
            gone = self.records.remove([int(i) for i in ids])
            if gone:
                self.changes.note(now_ns, "drop", f"{gone} records: {why}")
        return gone

    def describe(self, record: int) -> dict[str, Any]:
        """Pin, expiry and use of a record."""
        with self.store.read() as db:
            row = db.execute("SELECT pinned, expires_ns, uses, used_ns FROM life WHERE id = ?", (record,)).fetchone()
        names = ("pinned", "expires_ns", "uses", "used_ns")
        return dict(zip(names, row or (0, None, 0, None), strict=True))
