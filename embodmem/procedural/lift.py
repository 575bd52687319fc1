"""Names in texts: left out, replaced by variables, and found again.

The generalisation is Plotkin's least general one (Machine Intelligence 5, 1970): where aligned texts differ in a name,
the tuple of the names becomes a variable, and the same tuple always becomes the same one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice, product

_VARIABLE = re.compile(r"\{(\w+)\}")
MOST_READINGS = 64
"""In how many ways a fact is generalised, where its names stand for several variables, at most."""


@lru_cache(maxsize=4096)
def _names_pattern(names: tuple[str, ...]) -> re.Pattern[str] | None:
    longest_first = sorted({name.lower() for name in names}, key=lambda name: (-len(name), name))
    if not longest_first:
        return None
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)


def found(text: str, names: Sequence[str]) -> list[str]:
    """The names that stand in a text, in lower case, in order, repeats included."""
    pattern = _names_pattern(tuple(names))
    return [] if pattern is None else [match.group().lower() for match in pattern.finditer(text)]


def mask(text: str, names: Sequence[str], into: Mapping[str, str], other: str = "_") -> str:
    """A text in lower case with names replaced: by `into` where that has them, else by `other`."""
    pattern = _names_pattern(tuple(names))
    if pattern is None:
        return text.lower()
    return pattern.sub(lambda match: into.get(match.group().lower(), other), text).lower()


def rename(text: str, names: Mapping[str, str]) -> str:
    """A text with names replaced by others, case kept elsewhere."""
    pattern = _names_pattern(tuple(names))
    if pattern is None:
        return text
    low = {name.lower(): new for name, new in names.items()}
    return pattern.sub(lambda match: low[match.group().lower()], text)


def roles(task: str, names: Sequence[str]) -> dict[str, str]:
    """Name -> "{0}", "{1}", ... in the order in which the task mentions them."""
    return {name: f"{{{i}}}" for i, name in enumerate(dict.fromkeys(found(task, names)))}


def fill(text: str, names: Mapping[str, str]) -> str:
    """A text with its variables replaced, as far as they have names."""
    return _VARIABLE.sub(lambda match: names.get(match.group(1), match.group()), text)


def variables(texts: Iterable[str]) -> list[str]:
    """The variables of texts, each once."""
    return list(dict.fromkeys(name for text in texts for name in _VARIABLE.findall(text)))


@lru_cache(maxsize=4096)
def _template(text: str) -> re.Pattern[str]:
    parts, seen, at = [], set[str](), 0
    for match in _VARIABLE.finditer(text):
        name = match.group(1)
        parts.append(re.escape(text[at : match.start()]))
        parts.append(rf"(?P=v_{name})" if name in seen else rf"(?P<v_{name}>\w.*?)")
        seen.add(name)
        at = match.end()
    return re.compile("".join((*parts, re.escape(text[at:]))), re.IGNORECASE)


def drop_held() -> None:
    """Let go of the names and texts whose patterns are held."""
    _names_pattern.cache_clear()
    _template.cache_clear()


def match(template: str, text: str) -> dict[str, str] | None:
    """Variable -> name that make a text of a template; None where none do."""
    hit = _template(template).fullmatch(text.strip())
    return None if hit is None else {key[2:]: value for key, value in hit.groupdict().items()}


def ground(facts: Sequence[str], state: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """Names for the variables of facts, so that as many of the facts as possible hold in a state.

    Depth first, from the facts whose variables have names to those that share a variable with them; a fact that no
    reading makes true is passed over, and one that shares nothing names nothing.
    """
    chain, open_facts, known_variables = [], [f for f in facts if variables([f])], set(names)
    while near := [f for f in open_facts if known_variables & set(variables([f]))]:
        # Those with the fewest unknown variables first: they leave the fewest readings.
        nearest = min(near, key=lambda f: len(set(variables([f])) - known_variables))
        chain.append(nearest)
        open_facts.remove(nearest)
        known_variables |= set(variables([nearest]))
    best, most = dict(names), -1
    stack: list[tuple[int, int, dict[str, str]]] = [(0, 0, dict(names))]
    budget = 2000  # a bound on the search: a state of many alike facts has many readings
    while stack and budget:
        budget -= 1
        i, held, known = stack.pop()
        if i == len(chain):
            if held > most:
                best, most = known, held
            if held == len(chain):
                break
            continue
        wanted = fill(chain[i], known)
        linked = set(variables([chain[i]])) & set(known)  # the fact that linked it may have been passed over
        readings = [hit for fact in state if (hit := match(wanted, fact)) is not None] if linked else []
        stack.append((i + 1, held, known))
        stack.extend((i + 1, held + 1, {**known, **hit}) for hit in reversed(readings))
    return best


class Generaliser:
    """Aligned texts of several experiences into one text; keeps which variable each tuple of names became.

    Args:
        names: The names of each experience, in lower case.
    """

    def __init__(self, names: Sequence[Sequence[str]]) -> None:
        self.names = [tuple(known) for known in names]
        self._variable: dict[tuple[str, ...], str] = {}
        self.constants: set[str] = set()

    def texts(self, aligned: Sequence[str]) -> str:
        """One text of one from each experience; the first, where they do not mention equally many names."""
        there = [found(text, names) for text, names in zip(aligned, self.names, strict=True)]
        pattern = _names_pattern(self.names[0])
        if pattern is None or len(set(map(len, there))) > 1:
            return aligned[0]
        put = [self._of(names) for names in zip(*there, strict=True)]
        words = iter(put)
        return pattern.sub(lambda match: next(words) or match.group(), aligned[0])

    def _of(self, names: tuple[str, ...]) -> str:
        """The variable of a tuple of names; "" where they are one and the same."""
        if len(set(names)) == 1:
            self.constants.add(names[0])
            return ""
        if names not in self._variable:
            i = len(self._variable)
            self._variable[names] = f"{{{chr(97 + i) if i < 26 else f'a{i}'}}}"
        return self._variable[names]

    def bound(self, which: int) -> dict[str, list[str]]:
        """Name -> the variables that it stands for in one experience."""
        made: dict[str, list[str]] = {}
        for names, variable in self._variable.items():
            made.setdefault(names[which], []).append(variable)
        return made


def generalise(facts: Iterable[str], names: Sequence[str], bound: Mapping[str, list[str]]) -> set[str]:
    """Facts with names replaced by the variables that they stand for, in every reading."""
    made = set[str]()
    for fact in facts:
        there = found(fact, names)
        readings = product(*(bound.get(name, [""]) for name in there))
        pattern = _names_pattern(tuple(names))
        for reading in islice(readings, MOST_READINGS):
            words = iter(reading)
            text = fact if pattern is None else pattern.sub(lambda m, w=words: next(w) or m.group(), fact)  # type: ignore[misc]
            made.add(text.lower())
    return made
