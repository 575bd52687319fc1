"""Stems as numbers that keep their first letters, and words of one kin: "work", "workspace", "working".

A word that begins with another one is mostly made of it (a compound, an ending that the stemmer leaves), and a text
that holds the one says something of the other.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NOT_A_WORD = -1
"""The number of no stem: those of stems are 0 and above."""

IN_LABEL = 0x18D5F2D
"""Makes the number of a stem in a label (xor) another one than that in a text; the letters in it stay."""

LETTERS = 7
"""So many letters of a stem are kept."""

LEAST = 3
"""A stem of fewer letters has no kin: too many words begin with it by chance."""

_HASH_BITS = 26
_HASH = (1 << _HASH_BITS) - 1
_BASE = 36
_OTHERS: int = _BASE**LETTERS << _HASH_BITS
_OTHERS_HASH = (1 << 61) - 1
_BEGIN: int = _BASE ** (LETTERS - LEAST) << _HASH_BITS
_BEGINS = (_OTHERS + _OTHERS_HASH) // _BEGIN + 1
_LETTERS = frozenset(string.ascii_lowercase)
_SHORTER = np.arange(LEAST, LETTERS)
_REST = _BASE ** (LETTERS - np.arange(LETTERS + 1))


def number_of(stem: str) -> int:
    """A stem as a number of 63 bits: its first letters and digits, in base 36, and 26 bits of a hash.

    Those that begin alike are side by side. Two stems that begin with the same seven letters share a number by one
    chance in 67 million. Of a stem with letters beyond a to z there, or with a 0, which stands for no letter, it is a
    hash alone. It holds for this process.
    """
    head = stem[:LETTERS]
    if head.isascii() and head.isalnum() and "0" not in head:
        return (int(head.ljust(LETTERS, "0"), _BASE) << _HASH_BITS) | (hash(stem) & _HASH)
    return _OTHERS + (hash(stem) & _OTHERS_HASH)


class Wanted(NamedTuple):
    """What numbers are looked for, in ranges of which any two are apart or one in the other.

    Attributes:
        low: (I,) first number of each range, both ends included.
        high: (I,) last one.
        term: (I,) of which word it is.
        kin: (I,) whether it is of its kin; else of itself.
        in_label: (I,) whether it is of the word itself in a label.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    term: NDArray[np.int64]
    kin: NDArray[np.bool_]
    in_label: NDArray[np.bool_]


def themselves(stems: Sequence[str]) -> Wanted:
    """Numbers of stems (T,) in texts and labels; "" is none."""
    (there,) = np.fromiter(map(len, stems), np.int64, len(stems)).nonzero()
    number = np.fromiter((number_of(stem) for stem in stems if stem), np.int64, len(there))
    points, none = np.concatenate([number, number ^ IN_LABEL]), np.zeros(len(there), np.bool_)
    return Wanted(
        points, points, np.concatenate([there, there]), np.concatenate([none, none]), np.concatenate([none, ~none])
    )


def wanted(stems: Sequence[str], no_kin: frozenset[str]) -> Wanted:
    """Numbers of stems (T,) in texts and labels, of those that begin with them, and of those that they begin with.

    The last two as far as the letters in a number reach: what begins with eight letters is not looked for, nor a
    beginning of eight.

    Args:
        stems: Of the words that are asked for; "" is none.
        no_kin: Stems that say nothing: "the" is no kin of "theatre".
    """
    count = len(stems)
    size = np.fromiter(map(len, stems), np.int64, count)
    number = np.fromiter((number_of(stem) if stem else NOT_A_WORD for stem in stems), np.int64, count)
    plain = np.fromiter((len(stem) >= LEAST and _LETTERS.issuperset(stem) for stem in stems), np.bool_, count)
    code = number >> _HASH_BITS
    (there,) = size.nonzero()
    begin, end = code << _HASH_BITS, code << _HASH_BITS | _HASH  # of the stems with these letters and no more
    (longer,) = (plain & (size < LETTERS)).nonzero()
    (full,) = (plain & (size == LETTERS)).nonzero()  # what is longer has the same letters: all but the stem's own
    own = np.sort([number[full], number[full] ^ IN_LABEL], axis=0)
    low = [end[longer] + 1, begin[full], own[0] + 1, own[1] + 1]
    high = [begin[longer] + (_REST[size[longer]] << _HASH_BITS) - 1, own[0] - 1, own[1] - 1, end[full]]
    says = [stem[:n] not in no_kin for stem in stems for n in range(LEAST, LETTERS)]
    shorter = np.array(says, np.bool_).reshape(count, len(_SHORTER)) & plain[:, None] & (size[:, None] > _SHORTER)
    of, at = shorter.nonzero()
    begins = (code[of] - code[of] % _REST[_SHORTER[at]]) << _HASH_BITS
    beyond = [t for t in (plain & (size > LETTERS)).nonzero()[0].tolist() if stems[t][:LETTERS] not in no_kin]
    seven = np.array([number_of(stems[t][:LETTERS]) for t in beyond], np.int64)
    points = [number[there], number[there] ^ IN_LABEL, seven, seven ^ IN_LABEL]
    term = np.concatenate([there, there, beyond, beyond, longer, full, full, full, of]).astype(np.int64)
    place = np.arange(len(term))
    return Wanted(
        np.concatenate([*points, *low, begins]),
        np.concatenate([*points, *high, begins | _HASH]),
        term,
        place >= 2 * len(there),
        (place >= len(there)) & (place < 2 * len(there)),
    )


def within(values: NDArray[np.int64], sought: Wanted) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (P,) and (P,) of a range of `sought` and a place in `values` (N,) that lies in it."""
    near = beginning_like(values, sought.low)
    order = np.lexsort((-sought.high, sought.low))  # what is around another one comes before it
    low, high = sought.low[order], sought.high[order]
    around = _around(low, high)
    found = values[near]
    at = np.searchsorted(low, found, side="right") - 1
    ranges, places = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    left = np.flatnonzero(at >= 0)
    at = at[left]
    while len(left):
        hit = found[left] <= high[at]
        ranges.append(order[at[hit]])
        places.append(near[left[hit]])
        at = around[at]
        left, at = left[at >= 0], at[at >= 0]
    return np.concatenate(ranges), np.concatenate(places)


def _around(low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """(I,) the innermost range around each, -1 where there is none: the last before it that ends no earlier."""
    made = np.full(len(low), -1)
    inside = low[1:] <= np.maximum.accumulate(high)[:-1]
    for i in (np.flatnonzero(inside) + 1).tolist():  # of words of a question that are kin of each other
        longer = np.flatnonzero(high[:i] >= high[i])
        made[i] = longer[-1] if len(longer) else -1
    return made


def beginning_like(numbers: NDArray[np.int64], sought: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in `numbers` (N,) those stand that begin with the same three letters as one of `sought` (M,)."""
    there = np.zeros(_BEGINS, np.bool_)
    there[sought // _BEGIN] = True
    return np.flatnonzero(there[numbers // _BEGIN])
