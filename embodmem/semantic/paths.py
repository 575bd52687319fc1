"""What leads from one thing to another by several facts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embodmem.errors import InvalidInput, MissingDependency
from embodmem.semantic.facts import Fact
from embodmem.semantic.graph import FactGraph
from embodmem.semantic.reads import FactReads, held

if TYPE_CHECKING:
    import networkx

MOST_HOPS = 16
"""Longest way that is looked for."""


class FactPaths(FactReads):
    """Reads over the graph of facts; `valid_ns` None: what holds now, `known_ns` None: as believed now."""

    _graph: FactGraph | None = None  # of now; None where it has to be read
    _graph_version = 0

    def _drop_graph(self) -> None:
        self._graph = None

    def _graph_at(self, valid_ns: int | None, known_ns: int | None) -> FactGraph:
        condition, values = held(valid_ns, known_ns)
        store = self.table.store
        if valid_ns is not None or known_ns is not None or store.in_transaction:
            with store.read() as db:
                return FactGraph.load(db, condition, values)
        version = store.foreign_version()
        graph = self._graph
        if graph is None or version != self._graph_version:
            with store.read() as db:
                graph = FactGraph.load(db, condition, values)
            self._graph, self._graph_version = graph, version
        return graph

    def _facts_of(self, graph: FactGraph, edges: Sequence[int]) -> dict[int, Fact]:
        numbers = json.dumps(sorted({int(graph.facts[edge]) for edge in edges}))
        found = self.table.select("f.id IN (SELECT value FROM json_each(?))", (numbers,))
        by_number = {fact.number: fact for fact in found}
        return {edge: by_number[int(graph.facts[edge])] for edge in edges}

    def paths(
        self,
        subject: str,
        object: str,
        max_hops: int = 4,
        *,
        valid_ns: int | None = None,
        known_ns: int | None = None,
        limit: int = 10,
    ) -> list[tuple[Fact, ...]]:
        """Chains of facts from one thing to another, walked either way, the shortest first.

        Args:
            subject: Id, name or label.
            object: Id, name or label.
            max_hops: Most facts in a chain.
            valid_ns: When in the world, ns.
            known_ns: When in the memory, ns.
            limit: Most chains wanted.

        Raises:
            InvalidInput: max_hops is not in 1..16, or limit is below 1.
        """
        if not 1 <= max_hops <= MOST_HOPS or limit < 1:
            raise InvalidInput(f"paths: wanted max_hops in 1..{MOST_HOPS} and limit >= 1, got {max_hops} and {limit}")
        graph = self._graph_at(valid_ns, known_ns)
        ways = graph.paths(graph.nodes(subject), graph.nodes(object), max_hops, limit)
        facts = self._facts_of(graph, [edge for way in ways for edge in way])
        return [tuple(facts[edge] for edge in way) for way in ways]

    def neighbours(
        self, subject: str, hops: int = 1, *, valid_ns: int | None = None, known_ns: int | None = None
    ) -> dict[str, int]:
        """Name -> steps of all that is at most so many facts away, nearest first; the subject is not among them.

        Raises:
            InvalidInput: hops is not in 1..16.
        """
        if not 1 <= hops <= MOST_HOPS:
            raise InvalidInput(f"neighbours: wanted hops in 1..{MOST_HOPS}, got {hops}")
        graph = self._graph_at(valid_ns, known_ns)
        steps = graph.distances(graph.nodes(subject), hops).tolist()
        near = [(step, name) for name, step in zip(graph.names, steps, strict=True) if step > 0]
        return {name: step for step, name in sorted(near)}

    def reach(
        self,
        subject: str,
        relation: str,
        max_hops: int = MOST_HOPS,
        *,
        valid_ns: int | None = None,
        known_ns: int | None = None,
    ) -> list[Fact]:
        """The facts by which a transitive relation reaches on from a subject, nearest first: what is in what is in ...

        Raises:
            InvalidInput: The relation is not transitive by the rules.
        """
        if not self.rules.of(relation).transitive:
            raise InvalidInput(
                f"reach: wanted a transitive relation (setting semantic.relations.{relation}.transitive), "
                f"got {relation!r}"
            )
        condition, values = held(valid_ns, known_ns)
        sql = (
            "WITH RECURSIVE step (fact, name, depth) AS (SELECT NULL, ?, 0 UNION SELECT f.id, f.object, s.depth + 1 "
            f"FROM step s JOIN fact f ON f.subject = s.name WHERE f.relation = ? AND s.depth < ? AND {condition}) "
            "SELECT fact, min(depth) FROM step WHERE fact IS NOT NULL GROUP BY fact ORDER BY 2, 1"
        )
        with self.table.store.read() as db:
            order = [row[0] for row in db.execute(sql, (subject, relation, max_hops, *values))]
            marks = ",".join("?" * len(order))
            found = {fact.number: fact for fact in self.table.select(f"f.id IN ({marks})", order)}
        return [found[number] for number in order]

    def activation(
        self, seeds: Mapping[str, float], as_of_ns: int | None = None, *, known_ns: int | None = None, steps: int = 8
    ) -> dict[str, float]:
        """How strongly each record is brought to mind by some, spreading over the facts; strongest first.

        Args:
            seeds: Ids, names or labels of things, or ids of facts, and how much each counts (above 0).
            as_of_ns: When in the world, ns; None: now.
            known_ns: When in the memory, ns; None: as believed now.
            steps: How far it spreads.

        Returns:
            Record id ("fact:3", "object:7") -> activation; {} where no seed is in the graph.

        Raises:
            InvalidInput: A seed does not count more than 0.
        """
        if any(not weight > 0.0 for weight in seeds.values()):
            raise InvalidInput(f"activation: wanted seeds that count more than 0, got {dict(seeds)}")
        graph = self._graph_at(as_of_ns, known_ns)
        at: dict[int, float] = {}
        for name, weight in seeds.items():
            nodes = graph.nodes(name)
            if name.startswith("fact:") and name[5:].isdecimal():
                for edge in (graph.facts == int(name[5:])).nonzero()[0].tolist():
                    nodes = [*graph.ends(edge)]
            for node in nodes:
                at[node] = at.get(node, 0.0) + weight / len(nodes)
        if not at:
            return {}
        nodes_on, facts_on = graph.activation(at, steps)
        found = {f"fact:{n}": x for n, x in zip(graph.facts.tolist(), facts_on.tolist(), strict=True) if x > 0.0}
        for name, x in zip(graph.names, nodes_on.tolist(), strict=True):
            kind, _, number = name.rpartition(":")
            if kind and number.isdecimal() and x > 0.0:
                found[name] = x
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def to_networkx(self, as_of_ns: int | None = None, *, known_ns: int | None = None) -> networkx.MultiDiGraph:
        """The facts as a graph of networkx: an edge from subject to object for each, its key the id of the fact.

        Raises:
            MissingDependency: networkx is not installed.
        """
        try:
            import networkx
        except ImportError:
            raise MissingDependency("networkx", "graph", "a view of facts as a graph") from None
        condition, values = held(as_of_ns, known_ns)
        made: Any = networkx.MultiDiGraph()
        for fact in self.table.select(condition, values):
            made.add_edge(
                fact.subject,
                fact.object,
                key=fact.id,
                relation=fact.relation,
                text=fact.text,
                confidence=fact.confidence,
                valid_from_ns=fact.valid_from_ns,
                valid_until_ns=fact.valid_until_ns,
            )
        return made
