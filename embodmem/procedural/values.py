"""What a case is worth in a state, learned from rewards; states as sets of terms.

AgentFly (Zhou et al., 2025), the non-parametric form of its case memory: the value of case c in state s is a kernel
regression over the rewards that c earned in the states where it was used,

    Q(s, c) = (m * n0 + sum_i n_i k(s, s_i) q_i) / (n0 + sum_i n_i k(s, s_i)),   k(s, s') = exp(-(1 - J(s, s')) / h)

with J the part of their terms that two states share, h the width of the kernel, and a prior of n0 uses that earned m.
Terms count by their rarity, w(t) = log(1 + N / n_t) for n_t of N experiences (Sparck Jones, J. Documentation 1972):
what nearly always holds makes no two states alike. Rewriting: a use in a state where k >= `same_state` changes the
entry that is there, q <- q + (r - q) / n, and adds no new one.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.config import ProceduralConfig
from embodmem.index.words import content_words
from embodmem.procedural.lift import mask, roles

Terms = NDArray[np.int64]


def terms(task: str, state: Sequence[str], names: Sequence[str], with_task: bool = False) -> Terms:
    """A task and what holds as sorted numbers: facts, facts with the task's names as places, and words.

    Numbers, not words: what is forgotten must not stay on disk in words.
    """
    places = roles(task, names)
    made = {fact.lower() for fact in state}
    made |= {mask(fact, names, places) for fact in state}
    made |= {f"w:{word}" for fact in state for word in content_words(fact)}
    if with_task:
        made |= {f"t:{mask(task, names, places)}"} | {f"t:{word}" for word in content_words(task)}
    digests = [hashlib.blake2b(term.encode(), digest_size=8).digest() for term in made]
    return np.sort(np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64))


class Rarity:
    """How much terms count: log(1 + N / n_t), n_t of N experiences having them.

    Args:
        db: Where the experiences are.
        wanted: The terms that are asked for, each array sorted.
    """

    def __init__(self, db: sqlite3.Connection, wanted: Iterable[Terms]) -> None:
        self.terms = np.unique(np.concatenate([np.empty(0, np.int64), *wanted]))
        whole = db.execute("SELECT count(*) FROM record WHERE kind = 'experience'").fetchone()[0]
        sql = "SELECT term, count(*) FROM experience_term WHERE term IN (SELECT value FROM json_each(?)) GROUP BY term"
        have = np.ones(len(self.terms))
        for term, n in db.execute(sql, (json.dumps(self.terms.tolist()),)):
            have[np.searchsorted(self.terms, term)] = n
        self.weights = np.log1p(max(whole, 1) / have)

    def of(self, terms: Terms) -> NDArray[np.float64]:
        """(N,) the weights of terms (N,) that were asked for."""
        made: NDArray[np.float64] = self.weights[np.searchsorted(self.terms, terms)]
        return made

    def overlap(self, a: Terms, b: Terms) -> float:
        """J: the weight of the terms that both have, as a part of the weight of all; 1 for two without terms."""
        shared = float(self.of(np.intersect1d(a, b, assume_unique=True)).sum())
        whole = float(self.of(a).sum() + self.of(b).sum()) - shared
        return shared / whole if whole else 1.0


class Values:
    """Rewards that cases earned, within the caller's transaction.

    Args:
        config: Width of the kernel, prior, and when two states are the same.
    """

    def __init__(self, config: ProceduralConfig) -> None:
        self.config = config

    def kernel(self, rarity: Rarity, a: Terms, b: Terms) -> float:
        """k(s, s'), 0..1."""
        return math.exp(-(1.0 - rarity.overlap(a, b)) / self.config.kernel_width)

    def learn(self, db: sqlite3.Connection, case: int, where: Terms, reward: float) -> None:
        """Note what a case earned in a state: change the entry of that state, or add one."""
        rows = db.execute("SELECT number, terms, q, n FROM case_value WHERE id = ?", (case,)).fetchall()
        entries = [np.frombuffer(terms, np.int64) for _, terms, _, _ in rows]
        rarity = Rarity(db, [where, *entries])
        near = [(self.kernel(rarity, where, own), row) for own, row in zip(entries, rows, strict=True)]
        k, (number, _, q, n) = max(near, key=lambda pair: pair[0], default=(0.0, (0, b"", 0.0, 0)))
        if k >= self.config.same_state:
            # Of many uses the later ones count more: n stops growing.
            n = min(n + 1, self.config.value_memory)
            db.execute("UPDATE case_value SET q = ?, n = ? WHERE number = ?", (q + (reward - q) / n, n, number))
            return
        entry = (case, where.tobytes(), float(reward))
        db.execute("INSERT INTO case_value (id, terms, q, n) VALUES (?, ?, ?, 1)", entry)

    def value(self, db: sqlite3.Connection, cases: Sequence[int], where: Terms) -> dict[int, float]:
        """Q(s, c) of cases in a state; the prior for those that earned nothing yet."""
        prior, weight = self.config.prior_value, self.config.prior_weight
        total = dict.fromkeys(cases, prior * weight)
        mass = dict.fromkeys(cases, weight)
        sql = "SELECT id, terms, q, n FROM case_value WHERE id IN (SELECT value FROM json_each(?)) ORDER BY number"
        rows = [(c, np.frombuffer(t, np.int64), q, n) for c, t, q, n in db.execute(sql, (json.dumps(list(cases)),))]
        rarity = Rarity(db, [where, *(entry for _, entry, _, _ in rows)])
        for case, entry, q, n in rows:
            k = n * self.kernel(rarity, where, entry)
            total[case] += k * q
            mass[case] += k
        return {case: total[case] / mass[case] for case in cases}
