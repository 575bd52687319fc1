"""The channels of a query over several memories at once: what each brings in, and what each says of all of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.config_recall import RecallConfig
from embodmem.errors import InvalidInput
from embodmem.index.asked import Asked, best, words_of
from embodmem.index.context import Times, stretches
from embodmem.index.filters import is_by_group, matching
from embodmem.index.given import GivenVectors
from embodmem.index.hydrate import Contents
from embodmem.index.late import KnowsWords, WordEncoder
from embodmem.index.lexical import Lexical
from embodmem.index.links import Linked, Spread, bearers, linked, names_in, over, seconds_from
from embodmem.index.mirror import Mirror
from embodmem.index.passed import Passed
from embodmem.index.pool import Pool
from embodmem.index.postings import Postings, presence, rarities
from embodmem.index.request import request_weights
from embodmem.index.rows import Rows
from embodmem.index.vectors import NO_VECTOR, Likes, Vectors
from embodmem.index.words import Stemmer
from embodmem.store import Store
from embodmem.types import Encoder, Query

LINKED_DEPTH = 50
"""How many links and activation bring in, each."""

MOST_BEARERS = 200
"""Of the records that bear a name, activation starts from so many of the newest."""


class Channels:
    """Makes pools of records that may answer.

    Args:
        store: The memory's file.
        mirror: The rows in RAM.
        given: Vectors of other models.
        contents: What the records say.
        encoder: Texts to vectors, or None.
        encode: Vectors of texts, which may hold those used last.
    """

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        given: GivenVectors,
        contents: Contents,
        encoder: Encoder | None,
        encode: Callable[[Sequence[str]], NDArray[np.float32]],
    ) -> None:
        self._mirror, self._given = mirror, given
        self._encoder = encoder
        self._language = encoder if isinstance(encoder, KnowsWords) else None
        self._lays_words = isinstance(encoder, WordEncoder)
        self._encode = encode
        self.spread: Spread | None = None
        self.vectors = Vectors(mirror, 0 if encoder is None else encoder.dim)
        self.floor = 0.0 if encoder is None else encoder.min_score
        self._stemmer = Stemmer()
        self._lexical = Lexical(store, self._stemmer)
        self._postings = Postings(store)

    def drop_held(self) -> None:
        """Let go of all words that are held."""
        self._stemmer.drop_held()
        self._lexical.laid.drop_held()
        self._postings.drop_held()

    def make_ready(self, db: sqlite3.Connection, kinds: Sequence[str]) -> bool:
        """Do a piece of what searches for some kinds, () is all, are going to need; whether any is left."""
        if self._lexical.laid.lay_more(db, kinds):
            return True
        self._mirror.prepare(db)  # last: it cannot be done in pieces, and a search that comes before does it at once
        return False

    def ask(self, db: sqlite3.Connection, query: Query) -> Asked:
        """Take a query apart.

        Raises:
            InvalidInput: Its embedding is not as long as this memory's.
        """
        if query.text is None:
            own, none = self._part_vectors(query, ()), np.empty((0, 0))
            no = np.empty(0)
            return Asked(query=query, parts=[], vectors=own, terms=[], has=none, postings=[], worth=no, late_worth=no)
        parts, terms, has = words_of(query.text, self._stemmer)
        postings = self._postings.of(db, terms)
        vectors = self._part_vectors(query, parts)
        worth, late_worth = self._worths(db, query.text, terms, postings)
        return Asked(
            query=query,
            parts=parts,
            vectors=vectors,
            terms=terms,
            has=has,
            postings=postings,
            worth=worth,
            late_worth=late_worth,
        )

    def _worths(
        self, db: sqlite3.Connection, text: str, terms: Sequence[str], postings: Sequence[NDArray[np.int64]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(T,) what each word of a text is worth, and what it is to late interaction."""
        if not terms:
            return np.empty(0), np.empty(0)
        total, requests = self._total(db), request_weights(text, terms)
        worth = rarities(total, postings) * requests
        if self._language is None:
            return worth, worth
        return worth, rarities(total, postings, self._language.word_shares(terms)) * requests

    def _total(self, db: sqlite3.Connection) -> int:
        """How many records there are."""
        with self._mirror.at(db) as rows:
            if rows is not None:
                return rows.n - rows.gone
        return int(db.execute("SELECT count(*) FROM record_words_docsize").fetchone()[0])

    def _part_vectors(self, query: Query, parts: Sequence[str]) -> NDArray[np.float32]:
        """(V, dim) vectors to search by: the query's own, or its text's, and those of its further parts.

        None where the query's own is of another model: it is held against vectors of that one alone.
        """
        given = query.embedding
        if self._encoder is None or (given is not None and not self._given.is_own(query.embedding_model)):
            return np.empty((0, 0), dtype=np.float32)
        if given is not None and given.shape != (self._encoder.dim,):
            raise InvalidInput(f"query: wanted an embedding ({self._encoder.dim},), got {given.shape}")
        if given is None:
            return self._encode(parts)
        return np.concatenate([given[None], self._encode(parts[1:])]) if len(parts) > 1 else given[None]

    def passing(self, db: sqlite3.Connection, query: Query, groups: Mapping[str, tuple[str, ...]]) -> Passed:
        """What passes every filter, of each group of kinds; () is every kind."""
        if len(groups) == 1:
            ((name, kinds),) = groups.items()
            ids, distance = matching(db, query, kinds, mirror=self._mirror)
            return Passed.of(ids, None if query.near is None else distance, (name,), None)
        begin = None if query.between_ns is None else query.between_ns[0]
        names, kinds = tuple(groups), tuple(kind for each in groups.values() for kind in each)
        # With a begin, facts are left to SQL: then what is no fact is asked for apart.
        if begin is None:
            with self._mirror.at(db) as rows:
                if rows is not None:
                    return held_by_rows(rows, query, groups, lambda: self._passing(db, query, kinds, rows, groups))
        found = [matching(db, query, kinds_of, mirror=self._mirror) for kinds_of in groups.values()]
        ids, distance = (np.concatenate(each) for each in zip(*found, strict=True))
        far = None if query.near is None else distance
        group = np.repeat(np.arange(len(found), dtype=np.int8), [len(some) for some, _ in found])
        order = np.argsort(ids, kind="stable")
        return Passed.of(ids[order], None if far is None else far[order], names, group[order])

    def _passing(
        self,
        db: sqlite3.Connection,
        query: Query,
        kinds: tuple[str, ...],
        rows: Rows,
        groups: Mapping[str, tuple[str, ...]],
    ) -> Passed:
        ids, distance = matching(db, query, kinds, mirror=self._mirror)
        owner = {kind: i for i, each in enumerate(groups.values()) for kind in each}
        of_group = np.array([*(owner.get(group[0], -1) for group in rows.groups), -1], dtype=np.int8)
        group = of_group[rows.column("group")[rows.rows_of(ids)]]
        return Passed.of(ids, None if query.near is None else distance, tuple(groups), group)

    def pools(
        self, db: sqlite3.Connection, asked: Asked, passed: Passed, depth: int, how: RecallConfig
    ) -> dict[str, Pool]:
        """What answers may come from, scored by every channel.

        Args:
            db: From `Store.read`.
            asked: The query.
            passed: What passes its filters.
            depth: How many each channel brings in of each group.
            how: The settings.
        """
        if not len(passed.ids):
            return {}
        seen = self._seen(db, asked.query, passed.ids)
        likes = self.vectors.likes(db, passed, asked.vectors, depth, self.floor)
        there = np.zeros(len(passed.ids), np.bool_)
        first = self._first_look(db, asked, passed, depth, seen, likes, there)
        linked_to = self._linked(db, asked, first, how)
        _add_linked(passed, linked_to, there)
        every = np.flatnonzero(there)
        ids = passed.ids[every]
        at = {name: some for name, some in passed.split(every)}
        pools = {name: Pool(ids[some], how=how) for name, some in at.items()}
        meaning = self._meaning(db, asked, every, ids, likes) if seen is None else seen[None, every]
        for name, pool in pools.items():
            pool.meaning = None if meaning is None else meaning[:, at[name]]
            if passed.distance is not None:  # nearness orders what the words chose; it brings in nothing of its own
                pool.distance = passed.distance[every[at[name]]]
        self._link(db, asked, pools, linked_to)
        if asked.parts and pools:
            # Late interaction lays words on their kin, too; beside it this gains nothing (docs/recall.md).
            counts = self._lexical.count(db, ids, asked.terms, kin=not (self._lays_words and how.late == "always"))
            times = Times.of(db, ids, self._mirror)
            for name, pool in pools.items():
                mine = counts.of(at[name])
                pool.add_words(mine, asked.weights)
                around = stretches(times.part(at[name]), int(how.episode_gap_s * 1e9))
                pool.add_context(around, mine, asked.weights, how)
        return pools

    def _seen(self, db: sqlite3.Connection, query: Query, ids: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Cosine (N,) with a vector of another model than the encoder's; None where the query bears none."""
        if query.embedding is None or self._given.is_own(query.embedding_model):
            return None
        return self._given.scores(db, ids, query.embedding, query.embedding_model)

    def _first_look(
        self,
        db: sqlite3.Connection,
        asked: Asked,
        passed: Passed,
        depth: int,
        seen: NDArray[np.float64] | None,
        likes: Sequence[Sequence[Likes]],
        there: NDArray[np.bool_],
    ) -> list[int]:
        """Choose the `depth` best of each channel and group: they are `there` (N,); returns ids of the very first."""
        ids, first = passed.ids, list[int]()
        for scores in presence(ids, asked.postings, asked.weights) if asked.parts else ():
            holding = (scores > 0).nonzero()[0]
            worth_of = scores[holding]
            for _, some in passed.split(holding):
                mine, worth = holding[some], worth_of[some]
                there[mine[best(worth, depth)]] = True
                first.extend(ids[mine[best(worth, 1)]].tolist())
        for found in (each for of_query in likes for each in of_query):
            there[found.at] = True
            first.extend(ids[found.at[:1]].tolist())
        nothing = not asked.parts and not len(asked.vectors)
        for part in passed.parts if nothing or seen is not None else ():
            mine = np.arange(len(ids))[part]
            if seen is not None:
                there[mine[best(seen[mine] - NO_VECTOR, depth)]] = True
            elif passed.distance is not None:
                near = mine[np.argsort(passed.distance[mine], kind="stable")[:depth]]
                there[near[~np.isnan(passed.distance[near])]] = True
            elif asked.query.around_ns is not None:
                apart = seconds_from(db, ids[mine], asked.query.around_ns, self._mirror)
                there[mine[np.argsort(apart, kind="stable")[:depth]]] = True
        return first

    def _meaning(
        self,
        db: sqlite3.Connection,
        asked: Asked,
        every: NDArray[np.int64],
        ids: NDArray[np.int64],
        likes: Sequence[Sequence[Likes]],
    ) -> NDArray[np.float64] | None:
        """(V, M) cosines of the records `ids` (M,), which stand at `every` (M,); None where there is no vector. Those
        that the first look has found are not read again.
        """
        if not len(asked.vectors):
            return None
        made = np.full((len(asked.vectors), len(ids)), np.nan)
        for row, of_query in zip(made, likes, strict=True):
            for found in of_query:
                row[np.searchsorted(every, found.at)] = found.cosines
        left = np.flatnonzero(np.isnan(made).any(axis=0))
        if len(left):
            made[:, left] = self.vectors.scores_each(db, ids[left], asked.vectors)
        return made

    def _linked(self, db: sqlite3.Connection, asked: Asked, first: Sequence[int], how: RecallConfig) -> Linked:
        """What the names of the query and its first answers lead to; nothing where neither channel counts."""
        found = Linked()
        if not asked.parts or not (how.links or how.spread):
            return found
        found.names = bearers(db, names_in(asked.parts[0]))
        if how.links:
            found.links = {other: 0.5 for others in linked(db, first).values() for other in others}
        if how.spread and self.spread is not None and found.names:
            rarest = sorted(found.names, key=lambda name: len(found.names[name]))
            seeds = {name: 1.0 / len(found.names[name]) for name in rarest}
            bearing = np.unique(np.concatenate([found.names[name][-MOST_BEARERS:] for name in rarest]))
            found.active = self.spread(db, seeds, bearing.tolist(), asked.query.as_of_ns)
        return found

    def _link(self, db: sqlite3.Connection, asked: Asked, pools: Mapping[str, Pool], linked: Linked) -> None:
        named = {word for name in linked.names for word in name.split()}
        part = sum(x for term, x in zip(asked.terms, asked.worth.tolist(), strict=True) if {term, term[:-1]} & named)
        for pool in pools.values():
            pool.named = part / max(float(asked.worth.sum()), 1e-12)
            if linked.names or linked.links:
                pool.links = linked.strength(pool.ids)
            if linked.active:
                active = over(pool.ids, linked.active)
                pool.active = active / max(linked.active.values())
            if asked.query.around_ns is not None:
                pool.apart = seconds_from(db, pool.ids, asked.query.around_ns, self._mirror)


def _add_linked(passed: Passed, linked: Linked, there: NDArray[np.bool_]) -> None:
    """Bring in the best of what is linked, of each group."""
    if linked.names or linked.links:
        ids = linked.ids()
        _add_best(passed, ids, linked.strength(ids), there)
    if linked.active:
        ids = np.array(sorted(linked.active), dtype=np.int64)
        _add_best(passed, ids, over(ids, linked.active), there)


def _add_best(passed: Passed, ids: NDArray[np.int64], scores: NDArray[np.float64], there: NDArray[np.bool_]) -> None:
    """Of records `ids` (N,), ascending, those of each group that pass and have the best scores (N,)."""
    at = np.minimum(np.searchsorted(passed.ids, ids), len(passed.ids) - 1)
    passes = passed.ids[at] == ids
    at, scores = at[passes], scores[passes]
    for _, some in passed.split(at):
        there[at[some[best(scores[some], LINKED_DEPTH)]]] = True


_MOST_HELD, _MOST_ROWS = 4, 1 << 18
"""Of so many filters, what passes them is held beside the rows; of so many records at most."""


def held_by_rows(rows: Rows, query: Query, groups: Mapping[str, tuple[str, ...]], make: Callable[[], Passed]) -> Passed:
    """What passes a query's filters; held until the rows change, where only kinds, sources and the agent decide."""
    if not is_by_group(query):
        return make()
    key = (tuple(groups.items()), query.kinds, query.sources, query.agent)
    found: Passed | None = rows.made.get(key)
    if found is None:
        found = make()
        if len(found.ids) <= _MOST_ROWS:
            if len(rows.made) >= _MOST_HELD:
                rows.made.clear()
            rows.made[key] = found
    return found
