"""A modern Hopfield store (Ramsauer et al., ICLR 2021): patterns as they are, one softmax step to recall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embodmem.episodic.associative.store import AssociativeStore
from embodmem.errors import InvalidInput

_CHUNK = 256
_TINY = 1e-12


class Hopfield(AssociativeStore):
    """Up to so many bytes of patterns; the ones written first make way.

    Args:
        dim: Length of a pattern.
        max_bytes: Of patterns and ids.
        beta: Inverse temperature. Above about 20, patterns of unit norm that differ come back one by one; below, those
            that are alike come back as their mean.

    Raises:
        InvalidInput: There is no room for one pattern, or `beta` is not above 0.
    """

    def __init__(self, dim: int, max_bytes: int = 1 << 26, beta: float = 32.0) -> None:
        super().__init__()
        self.dim, self.beta = dim, beta
        self.capacity = max_bytes // (4 * dim + 8)
        if dim < 1 or self.capacity < 1 or not beta > 0:
            raise InvalidInput(
                f"hopfield: wanted dim >= 1, room for a pattern of {4 * dim + 8} bytes and beta > 0, got dim {dim}, "
                f"{max_bytes} bytes and beta {beta}"
            )
        self._patterns = np.empty((0, dim), np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return self._patterns.nbytes + self._ids.nbytes

    def write(self, ids: NDArray[np.int64], patterns: NDArray[np.float32]) -> None:
        """Store patterns (N, dim) of unit norm under ids (N,); an id that is known gets the new one.

        Raises:
            InvalidInput: They are of another length or number, or not finite.
        """
        patterns = np.asarray(patterns, np.float32)
        if patterns.shape != (len(ids), self.dim) or not np.isfinite(patterns).all():
            raise InvalidInput(f"hopfield: wanted finite patterns {(len(ids), self.dim)}, got {patterns.shape}")
        self.forget(ids)
        # Cut before they are put together: a part of a larger array would keep all of it in RAM.
        out = max(0, len(self) - max(0, self.capacity - len(patterns)))
        self._patterns = np.concatenate([self._patterns[out:], patterns[-self.capacity :]])
        self._ids = np.concatenate([self._ids[out:], np.asarray(ids, np.int64)[-self.capacity :]])

    def forget(self, ids: NDArray[np.int64]) -> int:
        """Remove what was written under ids; returns how many were there."""
        kept = ~np.isin(self._ids, ids)
        gone = len(kept) - int(kept.sum())
        if gone:
            self._patterns, self._ids = self._patterns[kept], self._ids[kept]
        return gone

    def _weights(self, fragments: NDArray[np.float32]) -> NDArray[np.float32]:
        """(Q, N) softmax of beta times the cosine over what is known of each fragment (Q, dim), NaN where it is not."""
        known = ~np.isnan(fragments)
        filled = np.where(known, fragments, np.float32(0.0))
        length = np.linalg.norm(filled, axis=1, keepdims=True)
        if known.all():
            of_patterns = np.linalg.norm(self._patterns, axis=1)[None]
        else:  # over the known entries alone: what was erased says neither yes nor no
            of_patterns = np.sqrt(known.astype(np.float32) @ (self._patterns**2).T)
        cosine = filled @ self._patterns.T / np.maximum(of_patterns * length, _TINY)
        logits = self.beta * cosine
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        normal: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        return normal

    def complete(self, fragments: NDArray[np.float32], steps: int = 1) -> NDArray[np.float32]:
        """The patterns (Q, dim) that fragments (Q, dim) belong to; NaN is what is not known of a fragment.

        One step is the update xi_new = X softmax(beta X^T xi) (eq. 3), which is enough for patterns that are well
        apart (theorem 4).

        Raises:
            InvalidInput: A fragment has another length, or nothing is stored.
        """
        state = self._checked(fragments)
        if not len(self):
            raise InvalidInput("hopfield: wanted stored patterns, got an empty store")
        for _ in range(steps):
            parts = [
                self._weights(state[at : at + _CHUNK]) @ self._patterns for at in range(0, len(state), _CHUNK)
            ] or [state]
            state = np.concatenate(parts)
        return state

    def recall(self, fragments: NDArray[np.float32], k: int = 1) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids and weights (Q, k) of what fragments (Q, dim) call up, best first; the weights of all add up to 1.

        Raises:
            InvalidInput: A fragment has another length, or nothing is stored.
        """
        return self._called_up(self._checked(fragments), k, _CHUNK, self._weights)

    def _checked(self, fragments: NDArray[np.float32]) -> NDArray[np.float32]:
        state = np.asarray(fragments, np.float32)
        if state.ndim != 2 or state.shape[1] != self.dim or np.isinf(state).any():
            raise InvalidInput(f"hopfield: wanted fragments (Q, {self.dim}), NaN where not known, got {state.shape}")
        return state
