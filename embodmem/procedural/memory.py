"""Procedural memory: what was tried and what came of it, and the skills that are distilled from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from embodmem.checks import check_stamp
from embodmem.config import ProceduralConfig
from embodmem.errors import InvalidInput
from embodmem.index import RecordMemory, Records
from embodmem.index.filters import row_id
from embodmem.index.words import words
from embodmem.procedural.cases import KIND, Cases, as_experience
from embodmem.procedural.lift import drop_held
from embodmem.procedural.skills import Skills
from embodmem.procedural.types import Advice, Case, Change, Experience, Lesson, Offer, Skill, Stream, check_lines
from embodmem.types import Event, Percept, Query


class ProceduralMemory(RecordMemory):
    """Experiences, success and failure alike, and skills with a bound on how often they succeed.

    Args:
        records: Where they are kept.
        config: How experiences are valued, and when skills are made and end.

    Example:
        >>> from embodmem import EmbodiedMemory
        >>> from embodmem.procedural import Experience
        >>> with EmbodiedMemory() as memory:
        ...     memory.procedural.add(Experience(stamp_ns=1, task="bring the mug", plan=("pick mug",), success=True))
        ...     memory.procedural.retrieve("bring the mug")[0].plan
        'experience:1'
        ('pick mug',)
    """

    kinds: ClassVar[tuple[str, ...]] = ("experience", "skill")
    tables: ClassVar[tuple[str, ...]] = ("experience_term", "case_value", "skill_use", "skill_change")

    def __init__(self, records: Records, config: ProceduralConfig | None = None) -> None:
        super().__init__(records)
        self.config = config or ProceduralConfig()
        self._cases = Cases(records, self.config)
        self.skill_store = Skills(records, self.config)
        self.store.after_rollback.append(self.reload)
        self.store.on_erase.append(drop_held)

    def reload(self) -> None:
        """Read again which kinds of tasks are known."""
        self._cases.reload()

    # -- experiences ---------------------------------------------------------------------------------------------------

    def add(self, experience: Experience) -> str:
        """Keep an experience; when this returns, it is on disk. Returns its id.

        Raises:
            StampError: Time went backwards for its agent.
        """
        with self.store.transaction() as db:
            self.store.advance(self.name, experience.agent, experience.stamp_ns)
            return f"{KIND}:{self._cases.add(db, experience)}"

    def apply(self, experience: Percept | Event) -> int | None:
        """Keep an event that is an attempt at a task (setting `procedural.events`); returns its row id."""
        if isinstance(experience, Percept) or experience.kind not in self.config.events:
            return None
        said = set(words(experience.outcome)) & set(self.config.failure_words)
        success = not said if experience.reward is None else experience.reward > 0
        T = experience.T_world_body
        tried = Experience(
            stamp_ns=experience.stamp_ns,
            until_ns=experience.until_ns,
            task=experience.text,
            success=success,
            reward=experience.reward,
            error="" if success else experience.outcome,
            objects=experience.objects,
            position=None if T is None else T[:3, 3],
            agent=experience.agent,
            source=experience.source,
        )
        with self.store.transaction() as db:
            return self._cases.add(db, tried)

    def experience(self, record_id: str) -> Experience:
        """The experience of an id such as "experience:12".

        Raises:
            InvalidInput: There is none.
        """
        if not record_id.startswith(f"{KIND}:"):
            raise InvalidInput(f"experience: wanted an id such as 'experience:7', got {record_id!r}")
        return as_experience(self.records.get_id(record_id))

    def retrieve(
        self,
        task: str,
        state: Sequence[str] = (),
        k: int = 5,
        *,
        success: bool | None = None,
        steps: Sequence[str] = (),
        objects: Sequence[str] | None = None,
        filters: Query | None = None,
    ) -> list[Case]:
        """The k experiences that fit best, by task and by state, the two rankings fused by rank (MINDSTORES).

        Args:
            task: What is to be done.
            state: What holds now, a fact a line.
            k: At most so many.
            success: True: only what went well; False: only what did not.
            steps: Words that join the task in the query: what was done, and what is planned next.
            objects: Names in the task; None finds them by the kinds of tasks that are known.
            filters: Time, place, agent, labels that the experiences must meet.

        Raises:
            InvalidInput: The task is empty, `k` is below 1, or the state is no tuple of texts.
        """
        return self._cases.retrieve(
            task, check_lines("state", state), k, success=success, steps=steps, objects=objects, filters=filters
        )

    def select(
        self,
        task: str,
        state: Sequence[str] = (),
        k: int = 1,
        *,
        candidates: int = 32,
        rng: np.random.Generator | None = None,
        objects: Sequence[str] | None = None,
    ) -> list[Case]:
        """The k cases that went well and are worth most here, by the rewards that they earned (AgentFly).

        Args:
            task: What is to be done.
            state: What holds now.
            k: At most so many.
            candidates: How many are retrieved to choose from.
            rng: None takes the best; a generator draws without replacement, p ~ exp(value / temperature).
            objects: Names in the task.
        """
        cases = self.retrieve(task, state, max(k, candidates), success=True, objects=objects)
        keys = np.array([case.value for case in cases])
        if rng is not None:  # the largest of value / temperature + Gumbel noise are draws without replacement
            keys = keys / self.config.temperature + rng.gumbel(size=len(cases))
        order = np.argsort(-keys, kind="stable")[:k]
        return [cases[i] for i in order]

    def reward(
        self, case_id: str, task: str, state: Sequence[str], reward: float, *, objects: Sequence[str] | None = None
    ) -> None:
        """Learn what following a case earned: its value in this state is rewritten.

        Raises:
            InvalidInput: There is no such case, or the reward is not finite.
        """
        if not np.isfinite(reward):
            raise InvalidInput(f"reward: wanted a finite number, got {reward}")
        self.experience(case_id)
        where = self._cases.where(task, check_lines("state", state), objects)
        with self.store.transaction() as db:
            self._cases.values.learn(db, row_id(case_id), where, float(reward))

    def value(self, case_id: str, task: str, state: Sequence[str], *, objects: Sequence[str] | None = None) -> float:
        """What a case is expected to earn in a state (`embodmem.procedural.values`)."""
        where = self._cases.where(task, check_lines("state", state), objects)
        with self.store.read() as db:
            return self._cases.values.value(db, [row_id(case_id)], where)[row_id(case_id)]

    def lessons(
        self,
        task: str,
        state: Sequence[str] = (),
        k: int = 5,
        *,
        stream: Stream | None = None,
        objects: Sequence[str] | None = None,
    ) -> list[Lesson]:
        """What went wrong in like cases, most frequent first; of one stream, "perception" or "logic", or of both."""
        return self._cases.lessons(task, check_lines("state", state), k, stream, objects)

    def advice(self, task: str, state: Sequence[str] = (), k: int = 5) -> Advice:
        """All that a planner should know before it plans: skills, what to do, what to avoid, what went wrong."""
        with self.store.read():
            return Advice(
                skills=tuple(self.offers(task, state)[:k]),
                do=tuple(self.select(task, state, k)),
                avoid=tuple(self.retrieve(task, state, k, success=False)),
                lessons=tuple(self.lessons(task, state, k)),
            )

    # -- skills --------------------------------------------------------------------------------------------------------

    def distil(self, stamp_ns: int, newest: int = 5000) -> list[str]:
        """Make skills of what experiences have in common, and better those that there are.

        Args:
            stamp_ns: When, ns.
            newest: How many experiences are looked at, the newest first.

        Returns:
            The ids of the skills that are new or have a new version.
        """
        stamp_ns = check_stamp(stamp_ns)
        with self.store.transaction() as db:
            items = self.records.in_order(Query(), (KIND,), newest_first=True, limit=newest)
            lives = {row_id(item.id): as_experience(item) for item in reversed(items)}
            return self.skill_store.distil(db, lives, stamp_ns)

    def skill(self, skill_id: str) -> Skill:
        """The skill of an id such as "skill:13"; InvalidInput where there is none."""
        return self.skill_store.get(skill_id)

    def skills(self, *, deprecated: bool = False) -> list[Skill]:
        """All skills, the surest first; those that are deprecated on request."""
        return self.skill_store.all(deprecated)

    def offers(self, task: str, state: Sequence[str] = ()) -> list[Offer]:
        """The skills that do a task, with its names; those that are ready first, then the surest."""
        return self.skill_store.offers(task, check_lines("state", state))

    def record_use(self, skill_id: str, success: bool, *, stamp_ns: int, experience: str | None = None) -> Skill:
        """Count a use of a skill; its bounds follow, and it is deprecated or restored when that is due.

        Args:
            skill_id: Which.
            success: Whether it did what it says.
            stamp_ns: When, ns.
            experience: Id of the experience that tells of the use, so that it is counted once.

        Raises:
            InvalidInput: There is no such skill or experience.
        """
        with self.store.transaction() as db:
            return self.skill_store.use(db, skill_id, success, stamp_ns, experience)

    def deprecate(self, skill_id: str, *, stamp_ns: int, why: str = "") -> None:
        """Take a skill out of the offer until its next use decides again."""
        with self.store.transaction() as db:
            self.skill_store.set_deprecated(db, skill_id, True, stamp_ns, why)

    def restore(self, skill_id: str, *, stamp_ns: int, why: str = "") -> None:
        """Offer a deprecated skill again, until its next use decides."""
        with self.store.transaction() as db:
            self.skill_store.set_deprecated(db, skill_id, False, stamp_ns, why)

    def revert(self, skill_id: str, version: int, *, stamp_ns: int, why: str = "") -> Skill:
        """Let a skill say again what an earlier version said."""
        with self.store.transaction() as db:
            return self.skill_store.revert(db, skill_id, version, stamp_ns, why)

    def history(self, skill_id: str) -> list[Change]:
        """All changes of a skill, oldest first."""
        return self.skill_store.history(skill_id)

    def remove(self, numbers: list[int]) -> int:
        """Remove records; skills say no more than what is left says, and go when too little is left."""
        with self.store.transaction() as db:
            shaken = [n for n in self.skill_store.resting_on(db, numbers) if n not in set(numbers)]
            gone = super().remove(numbers)
            if shaken:
                items = self.records.in_order(Query(), (KIND,), newest_first=False, limit=1_000_000)
                lives = {row_id(item.id): as_experience(item) for item in items}
                gone += super().remove(self.skill_store.rest_again(db, shaken, lives))
        return gone
