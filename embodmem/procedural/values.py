"""What a case is worth in a state, learned from rewards; states as sets of terms.

AgentFly (Zhou et al., 2025), the non-parametric form of its case memory: the value of case c in state s is a kernel
regression over the rewards that c earned in the states where it was used,

    Q(s, c) = (m * n0 + sum_i n_i k(s, s_i) q_i) / (n0 + sum_i n_i k(s, s_i)),   k(s, s') = exp(-(1 - J(s, s')) / h)

with J the part of their terms that two states share (Jaccard), h the width of the kernel, and a prior of n0 uses that
earned m. Rewriting: a use in a state where k >= `same_state` changes the entry that is there, q <- q + (r - q) / n, and
adds no new one.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Sequence

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


def overlap(a: Terms, b: Terms) -> float:
    """The part of all terms of two that they share, 0..1; 1 for two empty ones."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    whole = len(a) + len(b) - shared
    return shared / whole if whole else 1.0


class Values:
    """Rewards that cases earned, within the caller's transaction.

    Args:
        config: Width of the kernel, prior, and when two states are the same.
    """

    def __init__(self, config: ProceduralConfig) -> None:
        self.config = config

    def kernel(self, a: Terms, b: Terms) -> float:
        """k(s, s'), 0..1."""
        return math.exp(-(1.0 - overlap(a, b)) / self.config.kernel_width)

    def learn(self, db: sqlite3.Connection, case: int, where: Terms, reward: float) -> None:
        """Note what a case earned in a state: change the entry of that state, or add one."""
        rows = db.execute("SELECT number, terms, q, n FROM case_value WHERE id = ?", (case,)).fetchall()
        near = [(self.kernel(where, np.frombuffer(t, np.int64)), number, q, n) for number, t, q, n in rows]
        k, number, q, n = max(near, default=(0.0, 0, 0.0, 0))
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
        for case, entry, q, n in db.execute(sql, (json.dumps(list(cases)),)):
            k = n * self.kernel(where, np.frombuffer(entry, np.int64))
            total[case] += k * q
            mass[case] += k
        return {case: total[case] / mass[case] for case in cases}
