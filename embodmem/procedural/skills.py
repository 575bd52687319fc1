"""Skills: scripts with a record of how they did, versions, and an end that can be undone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from embodmem.checks import check_stamp
from embodmem.config import ProceduralConfig
from embodmem.errors import InvalidInput
from embodmem.index import Record, Records
from embodmem.index.filters import row_id
from embodmem.procedural.beta import success_bounds
from embodmem.procedural.distil import Script, distil
from embodmem.procedural.lift import fill, ground, match
from embodmem.procedural.types import Change, Experience, Offer, Skill
from embodmem.types import Recall

KIND = "skill"
SCRIPT = ("task", "steps", "preconditions", "context", "unless", "adds", "removes", "constants")
_STANDING = ("successes", "failures", "lower", "mean", "upper")


def as_skill(item: Recall) -> Skill:
    """The skill that a record keeps."""
    data = item.data
    lists: dict[str, Any] = {name: tuple(data[name]) for name in SCRIPT[1:-1]}
    numbers = {
        name: data[name] for name in ("version", "deprecated", "successes", "failures", "lower", "mean", "upper")
    }
    return Skill(id=item.id, task=data["task"], evidence=item.evidence, **lists, **numbers)


class Skills:
    """Keeps skills, within the caller's transaction.

    Args:
        records: Where they are kept.
        config: When a skill is made, and when it ends.
    """

    def __init__(self, records: Records, config: ProceduralConfig) -> None:
        self.records, self.config = records, config

    def get(self, skill_id: str) -> Skill:
        """The skill of an id; InvalidInput where there is none."""
        if not skill_id.startswith(f"{KIND}:"):
            raise InvalidInput(f"skill: wanted an id such as 'skill:7', got {skill_id!r}")
        return as_skill(self.records.get_id(skill_id))

    def all(self, deprecated: bool) -> list[Skill]:
        """All skills, the surest first."""
        condition = "" if deprecated else "AND live"
        with self.records.store.read() as db:
            rows = db.execute(f"SELECT id FROM record WHERE kind = '{KIND}' {condition} ORDER BY id").fetchall()
            skills = [as_skill(item) for item in self.records.get([row[0] for row in rows])]
        return sorted(skills, key=lambda skill: -skill.lower)

    def offers(self, task: str, state: Sequence[str]) -> list[Offer]:
        """The skills that do a task, those that are ready first, then the surest."""
        made = []
        for skill in self.all(deprecated=False):
            names = match(skill.task, task)
            if names is None:
                continue
            names = ground((*skill.preconditions, *skill.context), state, names)
            holds = {fact.lower() for fact in state}
            missing = [fact for f in skill.preconditions if (fact := fill(f, names)).lower() not in holds]
            against = [fact for f in skill.unless if (fact := fill(f, names)).lower() in holds]
            steps = tuple(fill(step, names) for step in skill.steps)
            offer = Offer(skill=skill, names=names, steps=steps, missing=tuple(missing), against=tuple(against))
            made.append(offer)
        return sorted(made, key=lambda offer: (not offer.ready, len(offer.missing) + len(offer.against)))

    def distil(self, db: sqlite3.Connection, lives: Mapping[int, Experience], stamp_ns: int) -> list[str]:
        """Make skills of experiences, or better the ones that there are; returns the ids of those that changed."""
        rests = self.evidence(db)
        scripts = distil(lives, self.config.min_successes, self.config.min_overlap)
        pairs = [
            (len(shared), i, skill)
            for i, script in enumerate(scripts)
            for skill, known in rests.items()
            if (shared := known & set(script.successes))
        ]
        # A script is the next version of the skill with which it shares most experiences.
        of: dict[int, int] = {}
        for _, i, skill in sorted(pairs, key=lambda pair: (-pair[0], pair[2])):
            if i not in of and skill not in of.values():
                of[i] = skill
        changed = []
        for i, script in enumerate(scripts):
            number = of.get(i)
            if number is None:
                number = self._new(db, script, stamp_ns)
                changed.append(f"{KIND}:{number}")
            elif self._refine(db, number, script, stamp_ns):
                changed.append(f"{KIND}:{number}")
        return changed

    @staticmethod
    def evidence(db: sqlite3.Connection) -> dict[int, set[int]]:
        """Row id of each skill -> those of the experiences that it rests on."""
        rests: dict[int, set[int]] = {}
        sql = f"SELECT r.id, l.ref FROM record r JOIN record_link l ON l.id = r.id WHERE r.kind = '{KIND}'"
        for number, ref in db.execute(sql):
            rests.setdefault(number, set()).add(ref)
        return rests

    def _new(self, db: sqlite3.Connection, script: Script, stamp_ns: int) -> int:
        content = _content(script)
        number = self.records.add(self._record(content, script.successes, stamp_ns, stamp_ns, 1, {}))
        self._count_in(db, number, script, stamp_ns)
        self._note(db, number, 1, stamp_ns, "distilled", f"of {len(script.successes)} successes", content)
        self.settle(db, number, stamp_ns)
        return number

    def add_known(
        self, content: Mapping[str, Any], evidence: Sequence[int], span_ns: tuple[int, int], data: Mapping[str, Any]
    ) -> int:
        """Keep a skill that was distilled elsewhere; its uses and its history come with `adopt`."""
        return self.records.add(self._record(content, evidence, *span_ns, int(data["version"]), data))

    def _refine(self, db: sqlite3.Connection, number: int, script: Script, stamp_ns: int) -> bool:
        """Take up a script as the next version, if it says something new."""
        content, old = _content(script), self.records.get([number])[0]
        self._count_in(db, number, script, stamp_ns)
        known = {row[0] for row in db.execute("SELECT content FROM skill_change WHERE id = ?", (number,))}
        # What it said before and was taken back is not taken up again.
        fresh = json.dumps(content) not in known
        version = int(old.data["version"]) + fresh
        if fresh:
            self._note(db, number, version, stamp_ns, "refined", f"of {len(script.successes)} successes", content)
        else:
            content = {name: old.data[name] for name in SCRIPT}
        record = self._record(content, script.successes, old.first_seen_ns, stamp_ns, version, old.data)
        self.records.replace(number, record)
        self.settle(db, number, stamp_ns)
        return fresh

    def _record(
        self,
        content: Mapping[str, Any],
        evidence: Sequence[int],
        first_ns: int,
        last_ns: int,
        version: int,
        old: Mapping[str, Any],
    ) -> Record:
        text = f"to {content['task']}: {', '.join(content['steps'])}"
        if content["preconditions"]:
            text += f"; when {', '.join(content['preconditions'])}"
        standing = {"deprecated": old.get("deprecated", False), "version": version}
        return Record(
            kind=KIND,
            label=content["task"],
            text=text,
            first_ns=first_ns,
            last_ns=max(first_ns, last_ns),
            tags=content["constants"],
            evidence=evidence,
            data={**content, **standing, **self._standing(0.0, 0.0)},
        )

    @staticmethod
    def _count_in(db: sqlite3.Connection, number: int, script: Script, stamp_ns: int) -> None:
        """Count the experiences of a script as uses, each once."""
        rows = [(number, n, 1, stamp_ns) for n in script.successes] + [
            (number, n, 0, stamp_ns) for n in script.failures
        ]
        sql = "INSERT OR IGNORE INTO skill_use (id, experience, success, stamp_ns) VALUES (?, ?, ?, ?)"
        rows.sort(key=lambda row: row[1])
        db.executemany(sql, rows)

    def use(self, db: sqlite3.Connection, skill_id: str, success: bool, stamp_ns: int, experience: str | None) -> Skill:
        """Count a use; deprecate the skill, or restore it, when that is due."""
        number = row_id(self.get(skill_id).id)
        rests = None if experience is None else row_id(self.records.get_id(experience).id)
        sql = "INSERT OR IGNORE INTO skill_use (id, experience, success, stamp_ns) VALUES (?, ?, ?, ?)"
        db.execute(sql, (number, rests, int(success), check_stamp(stamp_ns)))
        self.settle(db, number, stamp_ns)
        return self.get(skill_id)

    def _standing(self, successes: float, failures: float) -> dict[str, float]:
        lower, mean, upper = success_bounds(successes, failures, self.config.credible, self.config.prior)
        return {"successes": successes, "failures": failures, "lower": lower, "mean": mean, "upper": upper}

    def settle(self, db: sqlite3.Connection, number: int, stamp_ns: int) -> None:
        """Write how it stands: counts, bounds, and whether it is still offered."""
        sql = "SELECT success FROM skill_use WHERE id = ? ORDER BY stamp_ns, number"
        uses = [row[0] for row in db.execute(sql, (number,))]
        counts = [0.0, 0.0]  # failures, successes: each use makes what was before count by the discount
        for success in uses:
            counts = [self.config.use_discount * count for count in counts]
            counts[success] += 1.0
        standing = self._standing(counts[1], counts[0])
        item = self.records.get([number])[0]
        was = bool(item.data["deprecated"])
        now = standing["upper"] < self.config.deprecate_below
        self._write(db, number, {**standing, "deprecated": now})
        if was != now:
            what = "deprecated" if now else "restored"
            why = f"upper bound {standing['upper']:.3f}, limit {self.config.deprecate_below}"
            self._note(db, number, int(item.data["version"]), stamp_ns, what, why, None)

    def set_deprecated(self, db: sqlite3.Connection, skill_id: str, deprecated: bool, stamp_ns: int, why: str) -> None:
        """Take a skill out of the offer, or back in, until its next use decides again."""
        skill = self.get(skill_id)
        if skill.deprecated == deprecated:
            return
        number = row_id(skill_id)
        self._write(db, number, {"deprecated": deprecated})
        what = "deprecated" if deprecated else "restored"
        self._note(db, number, skill.version, check_stamp(stamp_ns), what, why, None)

    def revert(self, db: sqlite3.Connection, skill_id: str, version: int, stamp_ns: int, why: str) -> Skill:
        """Say again what an earlier version said, as a new version."""
        skill, number = self.get(skill_id), row_id(skill_id)
        sql = "SELECT content FROM skill_change WHERE id = ? AND version = ? AND content IS NOT NULL ORDER BY number"
        row = db.execute(sql, (number, version)).fetchone()
        if row is None:
            raise InvalidInput(f"skill: wanted a version of {skill_id} whose script is kept, got {version}")
        content, old = json.loads(row[0]), self.records.get([number])[0]
        evidence = [row_id(item) for item in skill.evidence]
        new = skill.version + 1
        self.records.replace(number, self._record(content, evidence, old.first_seen_ns, stamp_ns, new, old.data))
        self._note(db, number, new, check_stamp(stamp_ns), "reverted", why, content)
        self.settle(db, number, stamp_ns)
        return self.get(skill_id)

    def history(self, skill_id: str) -> list[Change]:
        """All changes of a skill, oldest first."""
        self.get(skill_id)
        sql = "SELECT stamp_ns, what, version, why FROM skill_change WHERE id = ? ORDER BY number"
        with self.records.store.read() as db:
            rows = db.execute(sql, (row_id(skill_id),)).fetchall()
        return [Change(stamp_ns=row[0], what=row[1], version=row[2], why=row[3]) for row in rows]

    @staticmethod
    def _note(
        db: sqlite3.Connection,
        number: int,
        version: int,
        stamp_ns: int,
        what: str,
        why: str,
        content: Mapping[str, Any] | None,
    ) -> None:
        row = (number, version, stamp_ns, what, why, None if content is None else json.dumps(content))
        sql = "INSERT INTO skill_change (id, version, stamp_ns, what, why, content) VALUES (?, ?, ?, ?, ?, ?)"
        db.execute(sql, row)

    @staticmethod
    def _write(db: sqlite3.Connection, number: int, standing: Mapping[str, Any]) -> None:
        sql = "UPDATE record SET data = json_patch(data, ?) WHERE id = ?"
        db.execute(sql, (json.dumps(standing), number))
        if "deprecated" in standing:
            db.execute("UPDATE record SET live = ? WHERE id = ?", (int(not standing["deprecated"]), number))

    def resting_on(self, db: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
        """The skills that were distilled from any of these experiences."""
        gone = set(numbers)
        return [skill for skill, rests in self.evidence(db).items() if rests & gone]

    def rest_again(self, db: sqlite3.Connection, skills: Sequence[int], lives: Mapping[int, Experience]) -> list[int]:
        """After experiences were forgotten: say only what is left says; returns the skills of which nothing is left."""
        empty, rests = [], self.evidence(db)
        for number in skills:
            item = self.records.get([number])
            left = {n: lives[n] for n in rests.get(number, ()) if n in lives}
            scripts = distil(left, self.config.min_successes, self.config.min_overlap)
            # What older versions said came from what was forgotten, and so may have the reasons given.
            db.execute("UPDATE skill_change SET content = NULL, why = '' WHERE id = ?", (number,))
            if not item or not scripts:
                empty.append(number)
                continue
            self._refine(db, number, scripts[0], item[0].last_seen_ns)
        return empty


def _content(script: Script) -> dict[str, Any]:
    return {name: list(value) if isinstance(value := getattr(script, name), tuple) else value for name in SCRIPT}
