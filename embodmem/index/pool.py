"""The pool: what the first look brings in, scored again by every channel and fused."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embodmem.config_recall import RecallConfig
from embodmem.index.context import Stretches
from embodmem.index.lexical import Counts
from embodmem.index.ranking import to_unit
from embodmem.index.vectors import NO_VECTOR

LATE_WEIGHT = 3.0
"""What late interaction counts beside meaning, which counts 1."""

WORDS_BESIDE_LATE = 0.5
"""What words count there: late interaction lays words on words, too."""


@dataclass(slots=True)
class Pool:
    """Records that may answer, and what each channel says of them.

    Attributes:
        ids: (N,) row ids, ascending.
        words: (P, N) BM25 for each part of the query; None without a text.
        meaning: (P, N) cosine; None without a vector.
        distance: (N,) metres, NaN without a place; None when the query names no point.
        context: (P, N) what the neighbours and the stretch add; None where no event is there.
        links: (N,) 0..1, what bearing names and resting on first answers says; None where the query has no name.
        named: 0..1, the part of the words of the query, by rarity, that its names are made of.
        active: (N,) 0..1, activation from the names, its best at 1; None where nothing is near them.
        apart: (N,) seconds from the moment of the query; None where it names none.
        holds: (N, T) whether it holds a word of the query; None without a text.
        share: (P, N) 0..1, the part of the words of the query, by rarity, that it holds; None without a text.
        late: (P, N) soft alignment of the part with the text; NaN for those that were not looked at.
    """

    ids: NDArray[np.int64]
    words: NDArray[np.float64] | None = None
    meaning: NDArray[np.float64] | None = None
    distance: NDArray[np.float64] | None = None
    context: NDArray[np.float64] | None = None
    links: NDArray[np.float64] | None = None
    named: float = 0.0
    active: NDArray[np.float64] | None = None
    apart: NDArray[np.float64] | None = None
    holds: NDArray[np.bool_] | None = None
    share: NDArray[np.float64] | None = None
    late: NDArray[np.float64] | None = None
    how: RecallConfig = field(default_factory=RecallConfig)
    _text: NDArray[np.float64] | None = field(default=None, repr=False)

    def text_scores(self, words: float = 1.0) -> NDArray[np.float64]:
        """(P, N) mean of words and meaning, each with its best at 1: the convex combination of Bruch et al., TOIS 2023.

        Args:
            words: What words count beside meaning, which counts 1.
        """
        if words != 1.0:
            return self._text_scores(words)
        if self._text is None:  # asked for by the context, and again by the whole
            self._text = self._text_scores(words)
        return self._text

    def _text_scores(self, words: float) -> NDArray[np.float64]:
        if self.words is None or self.meaning is None:
            if self.words is not None:
                return to_unit(self.words)
            # Nothing to be weighed against; cosines below 0 keep their order.
            return np.zeros((1, len(self.ids))) if self.meaning is None else self.meaning
        said = to_unit(self.words)
        mean = (words * said + to_unit(self.meaning)) / (words + 1.0)
        # What has no vector yet (it comes with the commit) is judged by its words alone.
        return np.where(self.meaning > NO_VECTOR, mean, said)

    def scores(self) -> NDArray[np.float64]:
        """(N,) the best part's score, with context and nearness."""
        return self._fused(self.text_scores())

    def _fused(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.context is not None:
            parts = parts + self.context
        fused = parts.max(axis=0)
        if self.distance is not None:
            fused = fused + np.nan_to_num(1.0 / (1.0 + self.distance))  # half at a metre
        if self.apart is not None:
            fused = fused + self.how.moment / (1.0 + self.apart / self.how.moment_scale_s)
        for scores, weight in ((self.links, self.how.links), (self.active, self.how.spread)):
            if scores is not None:
                fused = fused + weight * scores
        return np.asarray(fused)

    def with_late(self, first: NDArray[np.int64], late: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) scores in which `first` (M,) stand before all others, ranked with the scores `late` (P, M) as well."""
        self.late = np.full((len(late), len(self.ids)), np.nan)
        self.late[:, first] = late
        cheap = self._fused(self.text_scores())
        text = (1.0 + WORDS_BESIDE_LATE) * self.text_scores(WORDS_BESIDE_LATE)[:, first]
        mean = (text + LATE_WEIGHT * to_unit(late)) / (1.0 + WORDS_BESIDE_LATE + LATE_WEIGHT)
        parts = np.zeros((len(late), len(self.ids)))
        parts[:, first] = mean
        scores: NDArray[np.float64] = cheap - cheap.max(initial=0.0)  # at most 0
        scores[first] = self._fused(parts)[first]
        return scores

    def support(self, best: NDArray[np.int64]) -> NDArray[np.float64]:
        """(M,) 0..1, what some records, by position, have for them: cosine, share of the words, or names and links."""
        most = np.zeros(len(best)) if self.links is None else self.named * self.links[best]
        for scores in (self.meaning, self.share):
            if scores is not None:
                most = np.maximum(most, scores[:, best].max(axis=0))
        return most

    def add_words(self, counts: Counts, weights: NDArray[np.float64]) -> None:
        """Score by words: `weights` (P, T) are the rarities of each part's words."""
        self.words, self._text = weights @ counts.weighed().T, None
        self.holds = counts.frequency >= 1
        self.share = (weights @ self.holds.T) / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)

    def whys(self, best: NDArray[np.int64], min_cosine: float) -> list[dict[str, float]]:
        """For each of some records, by position: channel -> score, for the channels that chose it or moved it up."""
        channels = (
            ("words", self.words, 0.0),
            ("meaning", self.meaning, np.nextafter(min_cosine, -1.0)),
            ("context", self.context, 0.0),
            ("late", self.late, -np.inf),
        )
        found: list[dict[str, float]] = [{} for _ in best]
        for name, scores, above in channels:
            if scores is not None:
                for why, score in zip(found, scores[:, best].max(axis=0).tolist(), strict=True):
                    if score > above:  # NaN is not
                        why[name] = score
        for name, alone in (("links", self.links), ("spread", self.active)):
            if alone is not None:
                for why, score in zip(found, alone[best].tolist(), strict=True):
                    if score > 0.0:
                        why[name] = score
        if self.apart is not None:
            for why, seconds in zip(found, self.apart[best].tolist(), strict=True):
                why["moment"] = seconds
        if self.distance is not None:
            for why, metres in zip(found, self.distance[best].tolist(), strict=True):
                if not math.isnan(metres):
                    why["near"] = metres
        return found

    def add_context(self, around: Stretches, counts: Counts, weights: NDArray[np.float64], how: RecallConfig) -> None:
        """Score by what stands around: `weights` (P, T) are the rarities of each part's words."""
        if not len(around.order):
            return
        near_by = how.neighbour * around.spread(self.text_scores())
        taking_part = Counts(counts.frequency[around.order], counts.length[around.order])
        stretch = to_unit(weights @ taking_part.grouped(around.stretch).weighed().T)
        in_company = np.bincount(around.stretch)[around.stretch] > 1  # one alone says nothing but what it says itself
        near_by[:, around.order] += how.episode * stretch[:, around.stretch] * in_company
        self.context = near_by
