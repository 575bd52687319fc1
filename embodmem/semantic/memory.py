"""Semantic memory: facts (subject, relation, object) with validity in the world and in the memory.

Every fact has two time axes (Snodgrass, "Developing Time-Oriented Database Applications", 1999, ch. 10):
`valid_from_ns .. valid_until_ns` is when it held in the world, `known_from_ns .. known_until_ns` is when this memory
believed so. Nothing is overwritten: what changes is closed and written anew, so that both "where was it on Monday?"
and "what did we believe on Monday?" keep their answers.

The memory learns one thing after another: its second axis never runs back, whatever the clocks of those who tell it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embodmem.checks import check_stamp
from embodmem.config import SemanticConfig
from embodmem.index import RecordMemory, Records
from embodmem.semantic.decide import Decider
from embodmem.semantic.facts import Claim, Decision
from embodmem.semantic.meanings import Meanings
from embodmem.semantic.mining import Mined, Miner
from embodmem.semantic.paths import FactPaths
from embodmem.semantic.rules import Rules
from embodmem.semantic.table import FactTable
from embodmem.store.first_steps import FACTS_AS_CLAIMS
from embodmem.types import Event, Percept, Query


class SemanticMemory(FactPaths, Meanings, RecordMemory):
    """Facts that are superseded when they change, with their history.

    Args:
        records: Where they are kept.
        config: The rules that decide about claims.
    """

    kinds: ClassVar[tuple[str, ...]] = ("fact",)

    def __init__(self, records: Records, config: SemanticConfig | None = None) -> None:
        super().__init__(records)
        self.config = config or SemanticConfig()
        self.rules, self.table = Rules(self.config), FactTable(records)
        self._decider = Decider(self.table, self.rules)
        self._miner = Miner(self.table, self.config.routines, self.update)
        self.store.after_commit.append(self._drop_graph)
        self.store.after_rollback.append(self._drop_graph)

    def reload(self) -> None:
        """Read again from the file when anything was learnt last."""
        self.table.reload()

    def apply(self, experience: Percept | Event, names: Mapping[str, str] | None = None) -> list[str]:
        """Facts that an event states by itself: who picks a thing holds it, until it is placed or dropped.

        Args:
            experience: Percepts state nothing by themselves.
            names: Words for the ids among the event's objects.

        Returns:
            The ids of the facts that hold from now on.
        """
        if isinstance(experience, Percept):
            return []
        who = experience.agent or "robot"
        stamp_ns, words = experience.stamp_ns, names or {}
        if experience.kind == "pick":
            pairs = [(thing, (words.get(thing, thing), words.get(who, who))) for thing in experience.objects]
            made = [self.assert_fact(it, "held by", who, valid_from_ns=stamp_ns, names=both) for it, both in pairs]
            return [fact for fact in made if fact is not None]
        if experience.kind in ("place", "drop"):
            for thing in experience.objects:
                self.retract(thing, "held by", until_ns=stamp_ns)
        return []

    def update(self, claim: Claim) -> Decision:
        """Take in a claim about one statement, as the rules decide; when this returns, it is on disk.

        What was believed of the same subject and relation (and of relations that exclude it) is touched, nothing else.
        A claim that is made again changes nothing. Facts are decided from all claims that stand, so that what is handed
        in late finds its place, and what a wrong claim had displaced comes back when that is denied.

        Raises:
            InvalidInput: An ending without an object, of an inverse or symmetric relation.
        """
        claim = self.rules.canonical(claim)
        with self.store.transaction():
            return self._decider.decide(claim)

    def assert_fact(
        self,
        subject: str,
        relation: str,
        object: str,
        *,
        valid_from_ns: int,
        known_from_ns: int | None = None,
        confidence: float = 1.0,
        names: tuple[str, str] | None = None,
        position: NDArray[np.float64] | None = None,
        evidence: Sequence[int] = (),
        source: str = "",
    ) -> str | None:
        """State that something holds from a time on: the short form of `update`.

        Args:
            subject: Id or name.
            relation: The relation.
            object: Id or name.
            valid_from_ns: Since when it holds in the world, ns.
            known_from_ns: When the memory learnt it, ns; None takes `valid_from_ns`. Who says so vouches for the time
                between: what was believed to begin in it is believed no longer.
            confidence: 0..1.
            names: Words for subject and object, where these are ids.
            position: (3,) metres in the world, where the subject is.
            evidence: Row ids that it rests on.
            source: Who says so.

        Returns:
            The id of the fact that says so; where the rules reject it, of the one that stands against it, if any.

        Raises:
            InvalidInput: A part is empty, the confidence is not in 0..1, or a time is no whole number of ns.
        """
        return self.update(
            Claim(
                subject=subject,
                relation=relation,
                object=object,
                valid_from_ns=check_stamp(valid_from_ns, "valid_from_ns"),
                known_ns=None if known_from_ns is None else check_stamp(known_from_ns, "known_from_ns"),
                confidence=confidence,
                names=names,
                position=position,
                evidence=evidence,
                source=source,
            )
        ).fact

    def retract(self, subject: str, relation: str, *, until_ns: int, known_ns: int | None = None) -> int:
        """State that a relation of a subject ended; returns how many facts were closed.

        Args:
            subject: Id or name.
            relation: The relation.
            until_ns: When it ended in the world, ns.
            known_ns: When the memory learnt it, ns; None takes `until_ns`. What was believed to begin between the two
                is believed no longer.

        Raises:
            InvalidInput: A time is no whole number of ns.
        """
        until_ns = check_stamp(until_ns, "until_ns")
        ended = Claim(subject=subject, relation=relation, says="ended", valid_until_ns=until_ns, known_ns=known_ns)
        return len(self.update(ended).closed)

    def consolidate(self, now_ns: int, budget: int = 100) -> Mined:
        """Mine routines and preferences from what repeats itself; they become facts of the source "mined".

        Args:
            now_ns: The time, ns; what comes later is not looked at.
            budget: Most candidates to look at; the next call goes on after them.

        Raises:
            InvalidInput: The budget is below 1, or the time is no whole number of ns.
        """
        return self._miner.mine(check_stamp(now_ns, "now_ns"), budget)

    def forget(self, query: Query) -> int:
        """Remove all that matches, from memory and from disk; returns how many records went.

        Raises:
            InvalidInput: The query is empty; `clear` removes everything.
        """
        with self.store.transaction():
            gone = super().forget(query)
            self.forget_claims(query.labels)
        return gone

    def forget_claims(self, names: Sequence[str]) -> None:
        """Remove what was claimed of these subjects and objects and has led to no fact, such as an ending alone."""
        with self.store.transaction() as db:
            sql = (
                "DELETE FROM fact_claim WHERE (lower(subject) = ? OR lower(object) = ?) AND NOT EXISTS (SELECT 1 FROM "
                "fact f WHERE f.subject = fact_claim.subject AND f.relation = fact_claim.relation "
                "AND fact_claim.object IN ('', f.object))"
            )
            db.executemany(sql, [(name.lower(), name.lower()) for name in names])

    def forget_source(self, source: str) -> int:
        """Decide anew all that claims of a source had a part in, without them; returns how many claims went.

        The facts that it began stay in the history until their records are removed.
        """
        with self.store.transaction() as db:
            sql = "SELECT DISTINCT subject, relation FROM fact_claim WHERE source = ? ORDER BY 1, 2"
            slots = db.execute(sql, (source,)).fetchall()
            return sum(self._decider.drop_source(subject, relation, source) for subject, relation in slots)

    def clear(self) -> None:
        """Remove everything, stamps included."""
        with self.store.transaction() as db:
            db.execute("DELETE FROM fact_claim")
            super().clear()

    def state_dict(self) -> dict[str, Any]:
        """Its rows: table -> {"columns": [...], "rows": [...]}, and its newest stamps."""
        with self.store.read() as db:
            cursor = db.execute("SELECT * FROM fact_claim ORDER BY id")
            claims = {"columns": [c[0] for c in cursor.description], "rows": cursor.fetchall()}
            return super().state_dict() | {"fact_claim": claims}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace its content by what `state_dict` gave.

        Raises:
            InvalidInput: The state lacks a table, or holds ids that another memory of this file uses.
        """
        with self.store.transaction() as db:
            super().load_state_dict(state)
            db.execute("DELETE FROM fact_claim")
            if "fact_claim" not in state:  # of an older version
                db.execute(FACTS_AS_CLAIMS)
                return
            columns, rows = state["fact_claim"]["columns"], state["fact_claim"]["rows"]
            marks = ", ".join("?" * len(columns))
            db.executemany(f"INSERT INTO fact_claim ({', '.join(columns)}) VALUES ({marks})", rows)
