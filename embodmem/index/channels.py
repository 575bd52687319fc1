"""The channels of a query over several memories at once: what each brings in, and what each says of all of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embodmem.config_recall import RecallConfig
from embodmem.errors import InvalidInput
from embodmem.index.asked import Asked, alike, best, words_of
from embodmem.index.context import Times, stretches
from embodmem.index.filters import matching
from embodmem.index.given import GivenVectors
from embodmem.index.hydrate import Contents
from embodmem.index.lexical import Lexical
from embodmem.index.links import Linked, Spread, bearers, linked, names_in, over, seconds_from
from embodmem.index.mirror import Mirror
from embodmem.index.pool import Pool
from embodmem.index.postings import Postings, presence, rarities
from embodmem.index.request import request_weights
from embodmem.index.vectors import NO_VECTOR, Vectors
from embodmem.index.words import Stemmer
from embodmem.store import Store
from embodmem.types import Encoder, Query

LINKED_DEPTH = 50
"""How many links and activation bring in, each."""

MOST_BEARERS = 200
"""Of the records that bear a name, activation starts from so many of the newest."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What passes the filters, of one group of kinds.

    Attributes:
        ids: (N,) row ids, ascending.
        distance: (N,) metres from the point of the query, NaN without a place; None where it has no point.
        of: (M,) row ids, ascending, of all groups that were looked for together.
        at: (N,) where in those its own stand.
    """

    ids: NDArray[np.int64]
    distance: NDArray[np.float64] | None
    of: NDArray[np.int64]
    at: NDArray[np.int64] | slice


@dataclass(slots=True)
class _Look:
    """What a first look at one memory finds.

    Attributes:
        ids: (N,) ascending row ids of what passes the filters.
        distance: (N,) metres; None where the query has no point.
        seen: (N,) cosine with a vector of another model; None where the query bears none.
        cosines: (V, N) with the vectors of the query; None where only the best are known.
        there: (N,) which of them are among the best of a channel.
        first: Row ids of the very first of each channel.
        likes: Row id -> cosine with the first vector, where only the best are known.
    """

    ids: NDArray[np.int64]
    distance: NDArray[np.float64] | None
    seen: NDArray[np.float64] | None
    cosines: NDArray[np.float32] | None
    there: NDArray[np.bool_]
    first: list[int] = field(default_factory=list)
    likes: dict[int, float] = field(default_factory=dict)


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
        self._mirror, self._given, self._contents = mirror, given, contents
        self._encoder = encoder
        self._encode = encode
        self.spread: Spread | None = None
        self.vectors = Vectors(mirror, 0 if encoder is None else encoder.dim)
        self.floor = 0.0 if encoder is None else encoder.min_score
        self._stemmer = Stemmer()
        self._lexical = Lexical(self._stemmer)
        self._postings = Postings(store)

    def ask(self, db: sqlite3.Connection, query: Query) -> Asked:
        """Take a query apart.

        Raises:
            InvalidInput: Its embedding is not as long as this memory's.
        """
        if query.text is None:
            own, none = self._part_vectors(query, ()), np.empty((0, 0))
            return Asked(query=query, parts=[], vectors=own, terms=[], has=none, postings=[], worth=np.empty(0))
        parts, terms, has = words_of(query.text, self._stemmer)
        postings = self._postings.of(db, terms)
        vectors = self._part_vectors(query, parts)
        worth = rarities(self._total(db), postings) * request_weights(query.text, terms) if terms else np.empty(0)
        return Asked(query=query, parts=parts, vectors=vectors, terms=terms, has=has, postings=postings, worth=worth)

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

    def passing(self, db: sqlite3.Connection, query: Query, groups: Mapping[str, tuple[str, ...]]) -> dict[str, Passed]:
        """What passes every filter, of each group of kinds; () is every kind."""
        begin = None if query.between_ns is None else query.between_ns[0]
        # With a begin, facts are left to SQL: then what is no fact is asked for apart.
        if len(groups) > 1 and begin is None:
            with self._mirror.at(db) as rows:
                if rows is not None:
                    kinds = tuple(kind for each in groups.values() for kind in each)
                    ids, distance = matching(db, query, kinds, mirror=self._mirror)
                    owner = {kind: i for i, each in enumerate(groups.values()) for kind in each}
                    of_group = np.array([*(owner.get(group[0], -1) for group in rows.groups), -1])
                    mine = of_group[rows.column("group")[rows.find(ids)]]
                    at = [np.flatnonzero(mine == i) for i in range(len(groups))]
                    far = [None if query.near is None else distance[some] for some in at]
                    return {name: Passed(ids[a], off, ids, a) for name, a, off in zip(groups, at, far, strict=True)}
        found = {name: matching(db, query, kinds, mirror=self._mirror) for name, kinds in groups.items()}
        far = [None if query.near is None else distance for _, distance in found.values()]
        return {
            name: Passed(ids, off, ids, slice(None)) for (name, (ids, _)), off in zip(found.items(), far, strict=True)
        }

    def pools(
        self, db: sqlite3.Connection, asked: Asked, passed: Mapping[str, Passed], depth: int, how: RecallConfig
    ) -> dict[str, Pool]:
        """What answers may come from, scored by every channel.

        Args:
            db: From `Store.read`.
            asked: The query.
            passed: Group -> what passes its filters; the groups share no record.
            depth: How many each channel brings in.
            how: The settings.
        """
        looks = self._looks(db, asked, {name: found for name, found in passed.items() if len(found.ids)}, depth)
        near_by = self._linked(db, asked, [number for look in looks.values() for number in look.first], how)
        for look in looks.values():
            self._add_linked(look, near_by)
        place = {name: np.flatnonzero(look.there) for name, look in looks.items()}
        pools = {name: Pool(looks[name].ids[at], how=how) for name, at in place.items() if len(at)}
        if not pools:
            return {}
        every = np.sort(np.concatenate([pool.ids for pool in pools.values()]))
        at = {name: np.searchsorted(every, pool.ids) for name, pool in pools.items()}
        meaning = self._meaning(db, asked, every, looks)
        for name, pool in pools.items():
            look = looks[name]
            if look.cosines is not None:
                pool.meaning = look.cosines[:, place[name]].astype(np.float64)
            elif meaning is not None:
                pool.meaning = meaning[:, at[name]]
            if look.seen is not None:
                pool.meaning = look.seen[None, place[name]]
            if look.distance is not None:  # nearness orders what the words chose; it brings in nothing of its own
                pool.distance = look.distance[place[name]]
        self._link(db, asked, pools, near_by)
        if asked.parts:
            counts = self._lexical.count(*self._contents.texts(db, every), asked.terms)
            times = Times.of(db, every, self._mirror)
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

    def _looks(
        self, db: sqlite3.Connection, asked: Asked, passed: Mapping[str, Passed], depth: int
    ) -> dict[str, _Look]:
        """The first look at each memory of which something passes the filters."""
        looks: dict[str, _Look] = {}
        whole, cosines = np.empty(0, np.int64), None
        for name, found in passed.items():
            if len(asked.vectors) and found.of is not whole:
                whole, cosines = found.of, self.vectors.held(db, found.of, asked.vectors)
            mine = None if cosines is None else cosines[:, found.at]
            seen = self._seen(db, asked.query, found.ids)
            looks[name] = _Look(found.ids, found.distance, seen, mine, np.zeros(len(found.ids), np.bool_))
        for look in looks.values():
            self._first_look(db, asked, look, depth)
        return looks

    def _first_look(self, db: sqlite3.Connection, asked: Asked, look: _Look, depth: int) -> None:
        """Choose the `depth` best of each channel."""
        ids, there, distance = look.ids, look.there, look.distance
        if asked.parts:
            for scores in presence(ids, asked.postings, asked.weights):
                there[best(scores, depth)] = True
                look.first.extend(ids[best(scores, 1)].tolist())
        for number, vector in enumerate(asked.vectors):
            if look.cosines is not None:
                chosen = alike(look.cosines[number], depth, self.floor)
                there[chosen] = True
                if len(chosen):
                    look.first.append(int(ids[look.cosines[number].argmax()]))
                continue
            like = self.vectors.best(db, ids, vector, depth, self.floor)
            look.likes = like if number == 0 else look.likes
            there[np.searchsorted(ids, np.fromiter(like, np.int64))] = True
            look.first.extend(list(like)[:1])
        nothing = not asked.parts and not len(asked.vectors)
        if look.seen is not None:
            there[best(look.seen - NO_VECTOR, depth)] = True
        elif distance is not None and nothing:
            there[np.argsort(distance, kind="stable")[:depth]] = True
            there &= ~np.isnan(distance)
        elif asked.query.around_ns is not None and nothing:
            apart = seconds_from(db, ids, asked.query.around_ns, self._mirror)
            there[np.argsort(apart, kind="stable")[:depth]] = True

    def _meaning(
        self, db: sqlite3.Connection, asked: Asked, ids: NDArray[np.int64], looks: Mapping[str, _Look]
    ) -> NDArray[np.float64] | None:
        """(V, N) cosines; with one vector, those that the first look has found are not read again. None where the
        looks know all, or there is no vector.
        """
        if not len(asked.vectors) or all(look.cosines is not None for look in looks.values()):
            return None
        if len(asked.vectors) > 1:
            return self.vectors.scores_each(db, ids, asked.vectors).astype(np.float64)
        found = {number: score for look in looks.values() for number, score in look.likes.items()}
        scores = over(ids, found)
        left = ~np.isin(ids, np.fromiter(found, np.int64, len(found)))
        scores[left] = self.vectors.scores_each(db, ids[left], asked.vectors)[0]
        return scores[None]

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

    @staticmethod
    def _add_linked(look: _Look, linked: Linked) -> None:
        """Bring in the best of what is linked."""
        if linked.names or linked.links:
            look.there[best(linked.strength(look.ids), LINKED_DEPTH)] = True
        if linked.active:
            look.there[best(over(look.ids, linked.active), LINKED_DEPTH)] = True

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
