"""Facts of one time as a graph in arrays: names are nodes, facts are edges that can be walked both ways."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESTART = 0.5
"""Part of the activation that starts anew from the seeds at each step, 1 - damping: HippoRAG (Gutierrez et al., NeurIPS
2024) takes 0.5, since answers are near their question."""


class FactGraph:
    """Compressed rows of a graph.

    Args:
        rows: (fact number, subject, object, confidence, label of the subject) of each of E facts.
    """

    def __init__(self, rows: Sequence[tuple[int, str, str, float, str]]) -> None:
        self.facts = np.array([row[0] for row in rows], dtype=np.int64)
        names = [row[1] for row in rows] + [row[2] for row in rows]
        self.names: list[str] = list(dict.fromkeys(names))
        self._nodes = {name: i for i, name in enumerate(self.names)}
        self._words: dict[str, list[int]] = {}
        for word, node in {(row[4].lower(), self._nodes[row[1]]): None for row in rows}:
            self._words.setdefault(word, []).append(node)
        ends = np.array([self._nodes[name] for name in names], dtype=np.int64)
        edges = len(rows)
        order = np.argsort(ends, kind="stable")  # (2E,): each fact from its subject, and each from its object
        self.tail = ends[order]
        self.head = np.concatenate([ends[edges:], ends[:edges]])[order]
        self.edge = np.tile(np.arange(edges), 2)[order]
        self.weight = np.tile(np.array([row[3] for row in rows], dtype=np.float64), 2)[order]
        self.first = np.searchsorted(self.tail, np.arange(len(self.names) + 1))  # (N + 1,)

    @classmethod
    def load(cls, db: sqlite3.Connection, condition: str, values: Sequence[Any]) -> FactGraph:
        """Of the facts that fulfil a condition on `fact f`."""
        sql = (
            "SELECT f.id, f.subject, f.object, f.confidence, r.label FROM fact f JOIN record r ON r.id = f.id "
            f"WHERE {condition} ORDER BY f.id"
        )
        return cls(db.execute(sql, values).fetchall())

    def nodes(self, name: str) -> list[int]:
        """The nodes of an id or name; of a word that is the label of several, all of these."""
        if name in self._nodes:
            return [self._nodes[name]]
        return self._words.get(name.lower(), [])

    def ends(self, edge: int) -> list[int]:
        """The nodes of a fact."""
        found: list[int] = self.tail[self.edge == edge].tolist()
        return found

    def distances(self, seeds: Sequence[int], hops: int) -> NDArray[np.int64]:
        """(N,): steps from the nearest seed, at most `hops`; -1 beyond."""
        steps = np.full(len(self.names), -1, dtype=np.int64)
        frontier = np.asarray(seeds, dtype=np.int64)
        steps[frontier] = 0
        for step in range(1, hops + 1):
            reached = np.unique(self.head[self._rows(frontier)])
            frontier = reached[steps[reached] < 0]
            if not len(frontier):
                break
            steps[frontier] = step
        return steps

    def _rows(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Indices of all half-edges that leave these nodes."""
        count = self.first[nodes + 1] - self.first[nodes]
        start = np.repeat(self.first[nodes] - np.concatenate([[0], np.cumsum(count)[:-1]]), count)
        rows: NDArray[np.int64] = start + np.arange(int(count.sum()))
        return rows

    def paths(self, begin: Sequence[int], end: Sequence[int], hops: int, limit: int) -> list[list[int]]:
        """The shortest ways first, as edges; no node comes twice on one.

        Only nodes near enough to both ends are entered, so that no step leads astray.
        """
        to_end = self.distances(end, hops)
        found: list[list[int]] = []
        ways: list[tuple[int, tuple[int, ...], list[int]]] = [(node, (node,), []) for node in begin]
        for step in range(hops + 1):
            found.extend(way for node, _, way in ways if to_end[node] == 0 and way)
            if len(found) >= limit:
                break
            longer = []
            for node, been, way in ways:
                if to_end[node] == 0:
                    continue
                rows = slice(self.first[node], self.first[node + 1])
                near = (to_end[self.head[rows]] >= 0) & (to_end[self.head[rows]] <= hops - step - 1)
                for head, edge in zip(self.head[rows][near].tolist(), self.edge[rows][near].tolist(), strict=True):
                    if head not in been:
                        longer.append((head, (*been, head), [*way, edge]))
            ways = longer
        return found[:limit]

    def activation(self, seeds: Mapping[int, float], steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Personalised PageRank (Haveliwala, WWW 2002, eq. 5; its power iteration, weighted by confidence).

        Args:
            seeds: Node -> how much of the restart it gets; made to sum to 1.
            steps: Iterations; what is farther than this stays at 0.

        Returns:
            Activation of the nodes (N,), and what flows through each fact in the last step (E,).
        """
        restart = np.zeros(len(self.names))
        restart[list(seeds)] = list(seeds.values())
        restart /= restart.sum()
        leaves = np.bincount(self.tail, self.weight, len(self.names))
        share = self.weight / np.maximum(leaves[self.tail], 1e-12)
        active, flow = restart, np.zeros(len(self.tail))
        for _ in range(steps):
            flow = active[self.tail] * share
            active = RESTART * restart + (1.0 - RESTART) * np.bincount(self.head, flow, len(self.names))
        through = np.bincount(self.edge, flow, len(self.facts)).astype(np.float64)
        return active, through
