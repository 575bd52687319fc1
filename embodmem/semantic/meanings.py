"""Personal meanings: a phrase of somebody's that names a set of things (MEMENTO's object semantics)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from embodmem.errors import InvalidInput
from embodmem.semantic.facts import Claim, Decision
from embodmem.semantic.reads import FactReads

MEANS = "means"
"""The relation between a phrase and what it stands for."""


def meaning_of(phrase: str, owner: str) -> str:
    """The subject under which the meaning of somebody's phrase is kept."""
    plain = " ".join(phrase.lower().split())
    return f"{plain} ({owner})" if owner else plain


class Meanings(FactReads):
    """What phrases stand for, kept as facts; so they have a history, and each owner has his own."""

    @abstractmethod
    def update(self, claim: Claim) -> Decision:
        """Take in a claim."""

    def define(self, phrase: str, members: Sequence[str], stamp_ns: int, owner: str = "") -> list[Decision]:
        """Give a phrase its personal meaning: "my morning set" is the mug and the kettle.

        What the phrase meant to this owner before, and is not named now, it means no more from then on.

        Args:
            phrase: The words.
            members: Names or ids of what it stands for, or the phrase of another set.
            stamp_ns: When that was said, ns.
            owner: Whose words they are.

        Raises:
            InvalidInput: There are no members, or one is empty.
        """
        if isinstance(members, str) or not members:
            raise InvalidInput(f"define: wanted the things that {phrase!r} stands for, got {members!r}")
        word, made = meaning_of(phrase, owner), []
        with self.table.store.transaction():
            for fact in self.facts(word, MEANS):
                if fact.object not in members:
                    gone = Claim(
                        subject=word, relation=MEANS, object=fact.object, says="ended", valid_until_ns=stamp_ns
                    )
                    made.append(self.update(gone))
            for member in members:
                text = f"{phrase} means {member}" + (f" to {owner}" if owner else "")
                made.append(
                    self.update(
                        Claim(
                            subject=word,
                            relation=MEANS,
                            object=member,
                            valid_from_ns=stamp_ns,
                            source=owner,
                            names=(phrase, member),
                            text=text,
                        )
                    )
                )
        return made

    def meaning(self, phrase: str, owner: str = "", valid_ns: int | None = None) -> list[str]:
        """What a phrase stands for, to its owner, now or at a time, sets within it resolved; [] if nothing."""
        found: list[str] = []
        left, been = [meaning_of(phrase, owner)], set()
        with self.table.store.read():
            while left:
                word = left.pop(0)
                been.add(word)
                held = self.facts(word, MEANS) if valid_ns is None else self.facts_at(valid_ns, None, word, MEANS)
                for fact in held:
                    inner = meaning_of(fact.object, owner)
                    if inner in been:
                        continue
                    if self.facts(inner, MEANS):
                        left.append(inner)
                    elif fact.object not in found:
                        found.append(fact.object)
        return found
