"""The rules that decide about claims: data of the configuration, looked up by relation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from embodmem.config import RelationRule, SemanticConfig
from embodmem.errors import InvalidInput
from embodmem.semantic.facts import Claim

_PLAIN = RelationRule()


class Rules:
    """What may hold beside what, and who may overwrite whom.

    Args:
        config: The rules.
    """

    def __init__(self, config: SemanticConfig) -> None:
        self.config = config
        self.rooms: Callable[[], Collection[str]] = tuple
        """Names of the rooms that are known elsewhere: they are regions like those of the settings."""
        self._bound: dict[str, tuple[str, ...]] = {}

    def of(self, relation: str) -> RelationRule:
        """The rule of a relation."""
        return self.config.relations.get(relation, _PLAIN)

    def is_single(self, relation: str) -> bool:
        """Whether a subject has one object of it at a time."""
        return relation in self.config.single_valued

    def is_region(self, object: str) -> bool:
        """Whether what is in it may be on something, too: a room holds a desk and a mug."""
        return object in self.config.regions or object in self.rooms()

    def excludes(self, one: tuple[str, str], other: tuple[str, str]) -> bool:
        """Whether two different (relation, object) of a subject cannot hold at once."""
        if one == other:
            return False
        if one[0] == other[0]:
            return self.is_single(one[0])
        if not any(one[0] in group and other[0] in group for group in self.config.exclusive):
            return False
        return not self.is_region(one[1]) and not self.is_region(other[1])

    def bound(self, relation: str) -> tuple[str, ...]:
        """The relations that can matter for this one, itself first: those of its groups, and of their groups."""
        known = self._bound.get(relation)
        if known is not None:
            return known
        found = [relation]
        for name in found:
            for group in self.config.exclusive:
                if name in group:
                    found.extend(other for other in group if other not in found)
        self._bound[relation] = bound = tuple(found)
        return bound

    def is_alone(self, relation: str) -> bool:
        """Whether each object of it stands for itself, whatever else holds."""
        return not self.is_single(relation) and len(self.bound(relation)) == 1

    def is_slot(self, relation: str, objects: Iterable[str]) -> bool:
        """Whether of all that can matter for a relation, with these objects, one thing holds at a time."""
        if len(self.bound(relation)) > 1 and any(map(self.is_region, objects)):
            return False
        bound = self.bound(relation)
        pairs = ((one, other) for one in bound for other in bound if one != other)
        return all(map(self.is_single, bound)) and all(self.excludes((a, ""), (b, "")) for a, b in pairs)

    def keeps_strongest(self, relations: tuple[str, ...]) -> bool:
        """Whether weight decides between claims of these relations."""
        return any(self.of(relation).keeps == "strongest" for relation in relations)

    def weight(self, relation: str, confidence: float, source: str) -> float:
        """How much a claim weighs against others: 1 for all where the newest is kept."""
        if not self.keeps_strongest(self.bound(relation)):
            return 1.0
        return confidence * self.config.trust.get(source, 1.0)

    def canonical(self, claim: Claim) -> Claim:
        """The claim in the one form in which it is kept: an inverse turned round, a symmetric one sorted.

        Raises:
            InvalidInput: An ending without an object, of a relation that has to be turned round.
        """
        rule = self.of(claim.relation)
        if not rule.inverse_of and not rule.symmetric:
            return claim
        if not claim.object:
            raise InvalidInput(f"claim: wanted the object of {claim.subject!r} {claim.relation!r} that ended, got none")
        if rule.symmetric and claim.subject <= claim.object:
            return claim
        names = None if claim.names is None else claim.names[::-1]
        relation = rule.inverse_of or claim.relation
        return replace(claim, subject=claim.object, relation=relation, object=claim.subject, names=names)

    def asked(
        self, subject: str | None, relation: str | None, object: str | None
    ) -> list[tuple[str | None, str | None, str | None]]:
        """How what is asked for is kept: (subject, relation, object), each None where open; any of them answers."""
        rule = _PLAIN if relation is None else self.of(relation)
        if rule.inverse_of:
            return [(object, rule.inverse_of, subject)]
        if rule.symmetric and subject != object:
            return [(subject, relation, object), (object, relation, subject)]
        return [(subject, relation, object)]
