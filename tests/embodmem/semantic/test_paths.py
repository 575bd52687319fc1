"""What leads from one thing to another: against plain walks, and against networkx."""

from __future__ import annotations

import sys
from itertools import pairwise

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embodmem.config import RelationRule, SemanticConfig
from embodmem.errors import InvalidInput, MissingDependency
from embodmem.index import Records
from embodmem.semantic import SemanticMemory
from embodmem.store import Store

RULES = SemanticConfig(relations={"in": RelationRule(transitive=True)})


@pytest.fixture
def house(records: Records) -> SemanticMemory:
    memory = SemanticMemory(records, RULES)
    for at, (subject, relation, object) in enumerate(
        [
            ("object:1", "in", "box"),
            ("box", "in", "cupboard"),
            ("cupboard", "in", "kitchen"),
            ("object:2", "in", "kitchen"),
            ("object:2", "owner", "ann"),
            ("dog", "owner", "ann"),
        ]
    ):
        names = {"object:1": "mug", "object:2": "lamp"}.get(subject, subject)
        memory.assert_fact(subject, relation, object, valid_from_ns=at + 1, names=(names, object))
    return memory


def said(chain: object) -> list[str]:
    return [f"{f.subject} {f.relation} {f.object}" for f in chain]  # type: ignore[attr-defined]


def test_chains_from_one_thing_to_another(house: SemanticMemory) -> None:
    chains = house.paths("mug", "ann", 5)
    assert [said(chain) for chain in chains] == [
        ["object:1 in box", "box in cupboard", "cupboard in kitchen", "object:2 in kitchen", "object:2 owner ann"]
    ]
    assert house.paths("mug", "ann", 4) == house.paths("mug", "nobody") == house.paths("mug", "mug") == []
    house.assert_fact("object:1", "owner", "ann", valid_from_ns=50)
    assert [len(chain) for chain in house.paths("mug", "ann", 5)] == [1, 5]
    assert house.paths("mug", "ann", 4, valid_ns=10) == []
    assert len(house.paths("mug", "ann", 5, limit=1)) == 1
    for bad in ({"max_hops": 0}, {"max_hops": 17}, {"limit": 0}):
        with pytest.raises(InvalidInput, match="paths: wanted"):
            house.paths("mug", "ann", **bad)


def test_neighbours_now_and_then(house: SemanticMemory) -> None:
    assert house.neighbours("kitchen") == {"cupboard": 1, "object:2": 1}
    assert house.neighbours("kitchen", 2) == {"cupboard": 1, "object:2": 1, "ann": 2, "box": 2}
    assert house.neighbours("kitchen", 3, valid_ns=3) == {"cupboard": 1, "box": 2, "object:1": 3}
    assert house.neighbours("kitchen", 9, known_ns=0) == house.neighbours("nothing") == {}
    with house.store.transaction():
        house.retract("object:2", "in", until_ns=60)
        assert house.neighbours("kitchen") == {"cupboard": 1}  # not yet committed
    assert house.neighbours("kitchen") == {"cupboard": 1}
    with pytest.raises(InvalidInput, match="neighbours: wanted hops"):
        house.neighbours("kitchen", 0)


def test_a_transitive_relation_reaches_on(house: SemanticMemory) -> None:
    assert said(house.reach("object:1", "in")) == ["object:1 in box", "box in cupboard", "cupboard in kitchen"]
    assert said(house.reach("object:1", "in", 2)) == ["object:1 in box", "box in cupboard"]
    assert said(house.reach("object:1", "in", valid_ns=2)) == ["object:1 in box", "box in cupboard"]
    house.assert_fact("kitchen", "in", "box", valid_from_ns=9)  # a circle
    assert len(house.reach("object:1", "in")) == 4
    with pytest.raises(InvalidInput, match="setting semantic.relations.owner.transitive"):
        house.reach("object:2", "owner")


def test_activation_spreads_and_weakens(house: SemanticMemory) -> None:
    found = house.activation({"mug": 1.0})
    facts = [name for name in found if name.startswith("fact:")]
    assert facts[:3] == ["fact:1", "fact:2", "fact:3"] and found["object:2"] < found["object:1"]
    assert set(house.activation({"fact:6": 1.0}, steps=1)) == {"fact:5", "fact:6", "object:2"}
    assert house.activation({"nobody": 1.0}) == {}
    assert "fact:4" not in house.activation({"kitchen": 1.0}, 3)
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidInput, match="seeds that count more than 0"):
            house.activation({"mug": bad})


edges = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.floats(0.1, 1.0)), min_size=1, max_size=25)


@settings(max_examples=40, deadline=None)
@given(edges, st.integers(1, 5))
def test_graph_against_networkx(pairs: list[tuple[int, int, float]], hops: int) -> None:
    store = Store()
    memory = SemanticMemory(Records(store, None))
    with store.transaction():
        for at, (a, b, sure) in enumerate(pairs):
            memory.assert_fact(f"n{a}", "knows", f"n{b}", valid_from_ns=at, confidence=sure)
    graph = memory.to_networkx()
    assert graph.number_of_edges() == len({(a, b) for a, b, _ in pairs})
    plain = networkx.Graph()
    for a, b, data in graph.edges(data=True):
        weight = data["confidence"] + (plain[a][b]["weight"] if plain.has_edge(a, b) else 0.0)
        plain.add_edge(a, b, weight=weight * (2 if a == b else 1))
    start, end = f"n{pairs[0][0]}", f"n{pairs[-1][1]}"
    near = networkx.single_source_shortest_path_length(plain, start, hops)
    assert memory.neighbours(start, hops) == {name: steps for name, steps in near.items() if steps}
    if start != end:
        ways = {tuple(way) for way in networkx.all_simple_paths(plain, start, end, hops)}
        found = memory.paths(start, end, hops, limit=10_000)
        assert {_walk(start, chain) for chain in found} == ways
        assert all(len(a) <= len(b) for a, b in pairwise(found))
    rank = networkx.pagerank(plain, alpha=0.5, personalization={start: 1.0}, dangling={start: 1.0}, tol=1e-12)
    from embodmem.semantic.graph import FactGraph

    mine = memory._graph_at(None, None)
    assert isinstance(mine, FactGraph)
    nodes, flow = mine.activation({mine.nodes(start)[0]: 1.0}, 60)
    assert dict(zip(mine.names, nodes.tolist(), strict=True)) == pytest.approx(rank, abs=1e-7)
    assert nodes.sum() == pytest.approx(1.0) and flow.sum() == pytest.approx(1.0)
    store.close()


def _walk(start: str, chain: object) -> tuple[str, ...]:
    names = [start]
    for fact in chain:  # type: ignore[attr-defined]
        names.append(fact.object if fact.subject == names[-1] else fact.subject)
    return tuple(names)


def test_a_reader_sees_what_another_process_writes(house: SemanticMemory) -> None:
    reader = SemanticMemory(Records(Store(house.store.path, "r"), None), RULES)
    assert "object:2" in reader.neighbours("kitchen")
    house.retract("object:2", "in", until_ns=60)
    assert reader.neighbours("kitchen") == {"cupboard": 1}
    reader.store.close()


def test_networkx_is_asked_for_by_name(house: SemanticMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = house.to_networkx(3)
    assert graph.edges["cupboard", "kitchen", "fact:3"]["relation"] == "in" and len(graph) == 4
    assert len(house.to_networkx(known_ns=2)) == 3
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(MissingDependency, match=r'pip install "embodmem\[graph\]"'):
        house.to_networkx()
