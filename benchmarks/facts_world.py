"""A small world with a known past, and the stream of claims in which its agents report it, late, twice and wrongly."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from embodmem.semantic import Claim

S = 1_000_000_000
PLACES = tuple(f"place {i}" for i in range(8))
AGENTS = ("ann", "bob", "cleo", "dan")
LAGS_S = {"ann": 0.0, "bob": 3.0, "cleo": 40.0, "dan": 400.0}
"""How late the reports of each agent arrive, on average: up to many changes later."""

Row = tuple[str, str, str, int, int | None]
"""Subject, relation, object, since when and until when in the world, ns."""


@dataclass
class World:
    """What was so when, and what was said about it in the order of arrival.

    Args:
        seed: Of everything.
        subjects: How many things there are.
        changes: How often each changes.
    """

    seed: int
    subjects: int = 40
    changes: int = 30
    truth: list[Row] = field(default_factory=list)
    stream: list[Claim] = field(default_factory=list)
    end_ns: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.made: list[tuple[int, int, Claim]] = []
        for i in range(self.subjects):
            self.places(f"thing {i}")
            self.owners(f"thing {i}")
            self.tastes(f"person {i}")
        self.end_ns = max(at for at, _, _ in self.made)
        self.stream = [claim for _, _, claim in sorted(self.made, key=lambda said: said[:2])]

    def say(self, at_ns: int, claim: dict[str, object], copies: bool = True) -> int:
        """Somebody reports something that he saw at a time; it arrives when it arrives. Returns when."""
        agent = AGENTS[self.rng.integers(len(AGENTS))]
        arrives = at_ns + int(self.rng.exponential(LAGS_S[agent]) * S)
        said = Claim(source=agent, known_ns=arrives, seen_ns=at_ns, **claim)  # type: ignore[arg-type]
        self.made.append((arrives, len(self.made), said))
        if copies and self.rng.random() < 0.15:  # the same message once more
            self.made.append((arrives + int(self.rng.exponential(60) * S), len(self.made), said))
        return arrives

    def places(self, subject: str) -> None:
        """A thing lies somewhere, is in somebody's hand, or is gone; one after the other."""
        times = np.cumsum(self.rng.integers(5, 60, self.changes + 1)) * S
        state: tuple[str, str] | None = None
        for at, until in zip(times[:-1].tolist(), [*times[1:-1].tolist(), None], strict=True):
            before, state = state, self.next_state(state)
            if state is None:
                assert before is not None
                self.say(at, {"subject": subject, "relation": before[0], "says": "ended", "valid_until_ns": at})
                continue
            self.truth.append((subject, *state, at, until))
            about = {"subject": subject, "relation": state[0], "object": state[1]}
            if until is not None and before is not None and self.rng.random() < 0.1:  # told afterwards, as a whole
                self.say(until, about | {"valid_from_ns": at, "valid_until_ns": until})
                parts = {"relation": before[0], "object": before[1], "valid_until_ns": at}
                self.say(until, {"subject": subject, "says": "ended", **parts})  # which does not end what was before
                self.say(until, about | {"says": "ended", "valid_until_ns": until})
            else:
                self.say(at, about | {"valid_from_ns": at})
            self.between(about, at, until or at + 60 * S)

    def next_state(self, state: tuple[str, str] | None) -> tuple[str, str] | None:
        """Another state than this; None: nothing is so."""
        if state is not None and self.rng.random() < 0.15:
            return None
        options = [("on", place) for place in PLACES] + [("held by", agent) for agent in AGENTS]
        options = [option for option in options if option != state]
        return options[self.rng.integers(len(options))]

    def between(self, about: dict[str, object], at: int, until: int) -> None:
        """It is seen again; or it is mistaken, which is found out."""
        if until - at < 4 * S:
            return
        if self.rng.random() < 0.3:
            again = int(self.rng.integers(at + 1, until))
            self.say(again, about | {"valid_from_ns": again})
        if self.rng.random() < 0.15:
            wrong = int(self.rng.integers(at + 1, until - 1))
            where = about | {"relation": "on", "object": "the moon"}
            arrived = self.say(wrong, where | {"valid_from_ns": wrong}, copies=False)
            never = Claim(says="never", source="user", known_ns=arrived + 30 * S, **where)  # type: ignore[arg-type]
            self.made.append((arrived + 30 * S, len(self.made), never))

    def owners(self, subject: str) -> None:
        """A thing belongs to one person at a time; a radio that is not to be trusted says otherwise."""
        times = np.cumsum(self.rng.integers(100, 600, 5)) * S
        owner = ""
        for at, until in zip(times[:-1].tolist(), [*times[1:-1].tolist(), None], strict=True):
            owner = str(self.rng.choice([agent for agent in AGENTS if agent != owner]))
            self.truth.append((subject, "owner", owner, at, until))
            self.say(at, {"subject": subject, "relation": "owner", "object": owner, "valid_from_ns": at})
            for confidence in (0.9, 0.05):
                late = int(self.rng.integers(at + 1, times[-1]))
                false = Claim(
                    subject=subject, relation="owner", object="the radio", valid_from_ns=late, seen_ns=late,
                    known_ns=late + S, confidence=confidence, source="radio",
                )  # fmt: skip
                self.made.append((late + S, len(self.made), false))

    def tastes(self, subject: str) -> None:
        """A person likes several things, each for a time of its own."""
        for thing in PLACES[:4]:
            times = (np.cumsum(self.rng.integers(50, 400, 4)) * S).tolist()
            for at, until in (times[:2], (times[2], None if self.rng.random() < 0.5 else times[3])):
                self.truth.append((subject, "likes", thing, at, until))
                about = {"subject": subject, "relation": "likes", "object": thing}
                self.say(at, about | {"valid_from_ns": at})
                if until is not None:
                    self.say(until, about | {"says": "ended", "valid_until_ns": until})
