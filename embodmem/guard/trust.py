"""How far each source is trusted: what the owner says of it, and what became of its claims."""

from __future__ import annotations

from dataclasses import dataclass

from embodmem.checks import check_texts
from embodmem.config import GuardConfig
from embodmem.errors import InvalidInput
from embodmem.store import Store


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a source.

    Attributes:
        source: Its name.
        good: Claims of it that turned out right.
        bad: Claims of it that turned out wrong.
        trust: The mean of the Beta distribution over its being right, (good + 1) / (good + bad + 2) (Josang and Ismail,
            Bled 2002, eq. 6); 1 for what the settings call trusted.
    """

    source: str
    good: float
    bad: float
    trust: float


class Trust:
    """The standing of sources, in the memory's file.

    Args:
        store: The file.
        config: Which sources are trusted from the start, and when another one is.
    """

    def __init__(self, store: Store, config: GuardConfig) -> None:
        self.store, self.config = store, config
        self._held: dict[str, tuple[float, float]] | None = None
        self._version: int | None = None
        store.after_rollback.append(self._drop)

    def _drop(self) -> None:
        self._held = None

    def _counts(self) -> dict[str, tuple[float, float]]:
        version = self.store.foreign_version()
        if self._held is None or version != self._version:
            self._version = version
            with self.store.read() as db:
                self._held = {name: (good, bad) for name, good, bad in db.execute("SELECT * FROM trust")}
        return self._held

    def standing(self, source: str) -> Standing:
        """What is known of a source; of one never heard of, nothing."""
        good, bad = self._counts().get(source, (0.0, 0.0))
        named = source in self.config.trusted and not bad
        return Standing(source, good, bad, 1.0 if named else (good + 1.0) / (good + bad + 2.0))

    def standings(self) -> list[Standing]:
        """Of all sources that were judged, by name."""
        return [self.standing(source) for source in sorted(self._counts())]

    def judge(self, source: str, *, good: float = 0.0, bad: float = 0.0) -> Standing:
        """Note that claims of a source turned out right or wrong.

        Raises:
            InvalidInput: A count is negative or not finite.
        """
        check_texts("trust: source", source)
        if not (0.0 <= good < 1e9 and 0.0 <= bad < 1e9):
            raise InvalidInput(f"trust: wanted counts of 0 or more, got good={good}, bad={bad}")
        with self.store.transaction() as db:
            db.execute(
                "INSERT INTO trust VALUES (?1, ?2, ?3) "
                "ON CONFLICT (source) DO UPDATE SET good = good + ?2, bad = bad + ?3",
                (source, good, bad),
            )
        self._held = None
        return self.standing(source)

    def is_proven(self, source: str) -> bool:
        """Whether what it says counts by itself."""
        return self.standing(source).trust >= self.config.proven_trust

    def is_shut_out(self, source: str) -> bool:
        """Whether what it says is kept apart."""
        standing = self.standing(source)
        unknown = self.config.quarantine_unproven and standing.trust < self.config.proven_trust
        return unknown or standing.trust < self.config.quarantine_below
