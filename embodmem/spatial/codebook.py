"""Embeddings quantised to a codebook: one small index a brick or object instead of hundreds of numbers.

Shi et al., "Language Embedded 3D Gaussians for Open-Vocabulary Scene Understanding" (CVPR 2024), replace the language
feature of every Gaussian by an index into a learnt discrete codebook. Here the codebook is k-means (Lloyd, IEEE
Transactions on Information Theory 1982), seeded by k-means++ (Arthur and Vassilvitskii, SODA 2007) and kept up to date
online (MacQueen, 1967); further levels quantise what the level before left over (Chen, Guan and Wang, "Approximate
Nearest Neighbor Search by Residual Vector Quantization", Sensors 2010).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodmem.errors import DamagedMemory, InvalidInput
from embodmem.spatial.pooling import group_sums
from embodmem.store import Store

Vectors = NDArray[np.float32]

_CHUNK = 4096
_ONE_HOT = 1 << 23
_SEEDS = 32
"""Candidates for each entry that seeding looks at."""


class QuantisationError(NamedTuple):
    """How far vectors and what stands for them are apart.

    Attributes:
        rms: Root of the mean squared length of the difference over that of the vectors; 0 is exact.
        cosine: Mean cosine of the two; 1 is exact.
    """

    rms: float
    cosine: float


class Codebook:
    """Entries that stand for vectors: `levels` tables of `size` entries, a vector being one entry of each, summed.

    Args:
        dim: Length of a vector.
        size: Entries of a table, 2..65536; up to 256 make an index one byte.
        levels: Tables; each costs one index a vector and lowers the error.
        seed: All that is random comes from it.

    Raises:
        InvalidInput: A number is out of its range.
    """

    def __init__(self, dim: int, size: int = 256, levels: int = 1, seed: int = 0) -> None:
        if dim < 1 or not 2 <= size <= 1 << 16 or levels < 1:
            raise InvalidInput(
                f"codebook: wanted dim >= 1, size in 2..65536 and levels >= 1, got {dim}, {size} and {levels}"
            )
        self.dim, self.size, self.levels, self.seed = dim, size, levels, seed
        self.entries = np.zeros((levels, size, dim), np.float32)
        self.counts = np.zeros((levels, size), np.int64)
        self._products: tuple[Vectors, NDArray[np.float64]] | None = None  # of which entries, and what they are

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Of an index."""
        return np.uint8 if self.size <= 256 else np.uint16

    def fit(self, vectors: ArrayLike, iterations: int = 20) -> QuantisationError:
        """Learn the entries from vectors (N, dim), anew; returns the error on them.

        Raises:
            InvalidInput: There are none, a shape is another, or a number is not finite.
        """
        rest = self._check(vectors)
        if not len(rest):
            raise InvalidInput("codebook: wanted at least one vector to learn from, got none")
        whole, rng = rest, np.random.default_rng(self.seed)
        self.entries = np.zeros_like(self.entries)
        for level in range(self.levels):
            table, codes = _k_means(rest, self.size, iterations, rng)
            self.entries[level] = table
            self.counts[level] = np.bincount(codes, minlength=self.size)
            rest = rest - table[codes]
        return self.error(whole)

    def partial_fit(self, vectors: ArrayLike) -> None:
        """Move the entries towards new vectors (N, dim): each is the running mean of all that it stood for.

        Indices that were given out before stand for the moved entries from then on.
        """
        rest = self._check(vectors)
        self._need_entries()
        self.entries = self.entries.copy()
        for level in range(self.levels):
            codes = _nearest(rest, self.entries[level])
            sums, counts = _sums(rest, codes, self.size)
            total = self.counts[level] + counts
            moved = counts > 0
            share = (counts[moved] / total[moved])[:, None]
            means = sums[moved] / counts[moved][:, None]
            self.entries[level][moved] += (share * (means - self.entries[level][moved])).astype(np.float32)
            self.counts[level] = total
            rest = rest - self.entries[level][codes]

    def _need_entries(self) -> None:
        if not self.counts.any():
            raise InvalidInput("codebook: wanted one that has learnt its entries; call fit first")

    def encode(self, vectors: ArrayLike) -> NDArray[Any]:
        """Indices (N, levels) uint8 or uint16 of the entries that stand for vectors (N, dim)."""
        rest = self._check(vectors)
        self._need_entries()
        codes = np.empty((len(rest), self.levels), self.dtype)
        for level in range(self.levels):
            codes[:, level] = _nearest(rest, self.entries[level])
            rest = rest - self.entries[level][codes[:, level]]
        return codes

    def decode(self, codes: NDArray[Any]) -> Vectors:
        """What indices (N, levels) stand for, (N, dim) float32."""
        levels = np.arange(self.levels)
        total: Vectors = self.entries[levels, codes.astype(np.intp)].sum(axis=1, dtype=np.float32)
        return total

    def error(self, vectors: ArrayLike) -> QuantisationError:
        """How far vectors (N, dim) and what would stand for them are apart."""
        wanted = self._check(vectors)
        return _error(wanted, self.decode(self.encode(wanted)))

    def cosines(self, query: ArrayLike, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Cosines (N,) of a vector (dim,) and what indices (N, levels) stand for.

        The query meets the entries first, `levels` x `size` dot products; each item then only adds up what its
        indices name, so its cost does not depend on `dim`.
        """
        vector = self._check([query])[0].astype(np.float64)
        dots = self.entries.astype(np.float64) @ vector
        index = codes.astype(np.intp)
        total, squared = np.zeros(len(index)), np.zeros(len(index))
        grams = self._grams()
        for i in range(self.levels):
            total += dots[i][index[:, i]]
            for j in range(i, self.levels):
                squared += (1.0 if i == j else 2.0) * grams[i, j][index[:, i], index[:, j]]
        lengths = np.sqrt(np.maximum(squared, 0.0)) * np.linalg.norm(vector)
        cosines: NDArray[np.float64] = total / np.maximum(lengths, 1e-30)
        return cosines

    def _grams(self) -> NDArray[np.float64]:
        """Products of all entries, (levels, levels, size, size); kept until the entries move."""
        if self._products is None or self._products[0] is not self.entries:
            tables = self.entries.astype(np.float64)
            self._products = (self.entries, np.einsum("ikd,jld->ijkl", tables, tables, optimize=True))
        return self._products[1]

    def _check(self, vectors: Any) -> Vectors:
        try:
            array: Vectors = np.array(vectors, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"codebook: wanted numbers (N, {self.dim}), got {vectors!r}") from error
        if array.ndim != 2 or array.shape[1] != self.dim or not np.isfinite(array).all():
            raise InvalidInput(f"codebook: wanted finite numbers (N, {self.dim}), got shape {array.shape}")
        return array


class QuantisedReport(NamedTuple):
    """What quantising costs and saves.

    Attributes:
        items: How many embeddings.
        raw_bytes: What they would take as float16.
        bytes: What their indices and the codebook (as float16) take.
        saved_bytes: The difference; below 0 while there are too few of them for a codebook.
        error: How far they and what stands for them were apart when they were written.
    """

    items: int
    raw_bytes: int
    bytes: int
    saved_bytes: int
    error: QuantisationError


class QuantisedEmbeddings:
    """One embedding a brick (by key) or object (by row id), kept as indices into a codebook.

    Args:
        codebook: One that has learnt its entries.
    """

    def __init__(self, codebook: Codebook) -> None:
        self.codebook = codebook
        self.keys = np.empty(0, np.int64)
        self.codes = np.empty((0, codebook.levels), codebook.dtype)
        self._errors = np.empty((0, 3))  # squared length of the difference and of the vector, cosine; an item

    def write(self, keys: ArrayLike, vectors: ArrayLike) -> None:
        """Keep vectors (N, dim) under distinct keys (N,) int64; they replace what was there.

        Raises:
            InvalidInput: The numbers differ, or a key comes twice.
        """
        fresh, codes = np.array(keys, dtype=np.int64), self.codebook.encode(vectors)
        if fresh.shape != (len(codes),) or len(np.unique(fresh)) != len(fresh):
            raise InvalidInput(f"quantised: wanted {len(codes)} distinct keys, got shape {fresh.shape}")
        wanted, got = np.array(vectors, dtype=np.float64), self.codebook.decode(codes).astype(np.float64)
        lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(got, axis=1)
        cosines = (wanted * got).sum(axis=1) / np.maximum(lengths, 1e-30)
        errors = np.stack([((wanted - got) ** 2).sum(axis=1), (wanted**2).sum(axis=1), cosines], axis=1)
        kept = ~np.isin(self.keys, fresh)
        order = np.argsort(np.concatenate([self.keys[kept], fresh]))
        self.keys = np.concatenate([self.keys[kept], fresh])[order]
        self.codes = np.concatenate([self.codes[kept], codes])[order]
        self._errors = np.concatenate([self._errors[kept], errors])[order]

    def remove(self, keys: ArrayLike) -> int:
        """Forget what stands under keys (N,); returns how many there were."""
        kept = ~np.isin(self.keys, np.array(keys, dtype=np.int64))
        gone = int(np.count_nonzero(~kept))
        self.keys, self.codes, self._errors = self.keys[kept], self.codes[kept], self._errors[kept]
        return gone

    def nearest(self, query: ArrayLike, k: int = 10) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Keys of the k embeddings most alike to a vector (dim,), of a text say, and their cosines, best first."""
        if k < 1:
            raise InvalidInput(f"k: wanted 1 or more, got {k}")
        cosines = self.codebook.cosines(query, self.codes)
        best = np.argsort(-cosines, kind="stable")[:k]
        return self.keys[best], cosines[best]

    def report(self) -> QuantisedReport:
        """What quantising costs and saves."""
        book, count = self.codebook, len(self.keys)
        raw, kept = count * book.dim * 2, self.codes.nbytes + book.entries.size * 2
        apart, whole, cosines = self._errors.sum(axis=0) if count else (0.0, 0.0, 1.0)
        error = QuantisationError(float(np.sqrt(apart / max(whole, 1e-30))), float(cosines / max(count, 1)))
        return QuantisedReport(count, raw, kept, raw - kept, error)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """All of its content as arrays, its codebook included."""
        book = self.codebook
        form = np.array([book.dim, book.size, book.levels, book.seed], dtype=np.int64)
        arrays = {"keys": self.keys, "codes": self.codes, "errors": self._errors}
        return {"form": form, "entries": book.entries, "counts": book.counts, **arrays}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> QuantisedEmbeddings:
        """What `state_dict` gave, made again."""
        made = cls(Codebook(*(int(number) for number in state["form"])))
        made.codebook.entries, made.codebook.counts = state["entries"].copy(), state["counts"].copy()
        made.keys, made.codes, made._errors = (state[name].copy() for name in ("keys", "codes", "errors"))
        return made

    def save(self, store: Store, name: str) -> None:
        """Write all of it into a memory's file under a name, in one transaction."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self.state_dict())
        with store.transaction() as db:
            db.execute("INSERT OR REPLACE INTO codebook VALUES (?, ?)", (name, buffer.getvalue()))

    @classmethod
    def load(cls, store: Store, name: str) -> QuantisedEmbeddings:
        """What `save` wrote.

        Raises:
            InvalidInput: There is nothing under this name.
            DamagedMemory: It cannot be read.
        """
        with store.read() as db:
            row = db.execute("SELECT content FROM codebook WHERE name = ?", (name,)).fetchone()
            names = [known for (known,) in db.execute("SELECT name FROM codebook ORDER BY name")]
        if row is None:
            raise InvalidInput(f"codebook: wanted one of {names}, got {name!r}")
        try:
            with np.load(io.BytesIO(row[0])) as arrays:
                return cls.from_state(dict(arrays))
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise DamagedMemory(f"{store.path}: the codebook {name!r} cannot be read: {error}") from error


def _nearest(vectors: Vectors, table: Vectors) -> NDArray[np.intp]:
    """Row (N,) of the table that is nearest to each vector (N, D), the first of equal ones."""
    half = np.float32(0.5) * (table**2).sum(axis=1)
    found = np.empty(len(vectors), np.intp)
    for first in range(0, len(vectors), _CHUNK):  # bounds the memory of the product
        part = vectors[first : first + _CHUNK]
        found[first : first + _CHUNK] = np.argmin(half - part @ table.T, axis=1)
    return found


def _sums(vectors: Vectors, codes: NDArray[np.intp], size: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum (K, D) and number (K,) of the vectors of each code."""
    if len(codes) * size <= _ONE_HOT:  # a product with a table of zeros and ones is the fastest while it is small
        table = np.zeros((len(codes), size), np.float32)
        table[np.arange(len(codes)), codes] = 1.0
        return (table.T @ vectors).astype(np.float64), np.bincount(codes, minlength=size).astype(np.int64)
    sums, counts = np.zeros((size, vectors.shape[1])), np.zeros(size, np.int64)
    used, sums_used, counts_used = group_sums(codes.astype(np.int64), vectors)
    sums[used], counts[used] = sums_used, counts_used
    return sums, counts


def _k_means(
    vectors: Vectors, size: int, iterations: int, rng: np.random.Generator
) -> tuple[Vectors, NDArray[np.intp]]:
    """A table (K, D) and the code (N,) of each vector."""
    table = np.zeros((size, vectors.shape[1]), np.float32)
    seeds = vectors
    if len(vectors) > _SEEDS * size:  # seeding looks at all candidates once for each entry
        seeds = vectors[rng.choice(len(vectors), _SEEDS * size, replace=False)]
    squares = np.einsum("ij,ij->i", seeds, seeds)
    away, chosen = np.full(len(seeds), np.inf), 0
    pick = int(rng.integers(len(seeds)))
    while chosen < size:  # k-means++: the next seed is likely where none is near
        table[chosen] = seeds[pick]
        apart = squares - 2 * (seeds @ seeds[pick]) + squares[pick]
        away = np.minimum(away, np.where(apart > 1e-6 * (squares + squares[pick]), apart, 0.0))
        chosen += 1
        if not away.any():
            break  # every candidate is a seed
        pick = int(rng.choice(len(seeds), p=away / away.sum()))
    codes = _nearest(vectors, table[:chosen])
    for _ in range(iterations):
        sums, counts = _sums(vectors, codes, size)
        used = counts > 0
        table[used] = (sums[used] / counts[used][:, None]).astype(np.float32)
        before, codes = codes, _nearest(vectors, table[:chosen])
        if np.array_equal(before, codes):
            break
    return table, codes


def _error(wanted: Vectors, got: Vectors) -> QuantisationError:
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1) / np.maximum(lengths, 1e-30)
    rms = np.sqrt(((a - b) ** 2).sum() / max(float((a**2).sum()), 1e-30))
    return QuantisationError(float(rms), float(cosines.mean()) if len(cosines) else 1.0)
