"""Words of a request that say what is to be done, and not with what: "set up" in "could you set up my desk?".

What is asked of a robot begins so; a memory that holds the same verb by chance is no better an answer for it. They are
told by their place in the sentence, not by a list of verbs: in "my new work setup", or in a question that asks for
nothing to be done, every word counts whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embodmem.index.words import words

WORTH = 0.5
"""What such a word counts beside its rarity. .3 to .7 differ by one question in a hundred on MEMENTO."""

_BETWEEN = r"(?:please|kindly|first|then|also|now|just|maybe|perhaps|again|help\s+(?:me|us)(?:\s+to)?)"
_REQUEST = re.compile(
    r"\b(?:(?:can|could|would|will|shall|should)\s+(?:you|we|i)|(?:want|need|like)\s+you\s+to|help\s+(?:me|us)(?:\s+to)?"
    rf"|please|do\s+you|let\s+us|let['\u2019]s)\s+(?P<between>(?:{_BETWEEN}\s+)*)(?P<verb>\w+)"
    r"(?:\s+(?P<particle>up|down|away|out|back|off|over|together)\b)?",
    re.IGNORECASE,
)


def request_words(text: str) -> frozenset[str]:
    """The verb of each request of a text, and the words that go with it, in lower case.

    English: after "can you", "please", "help me to", "I want you to", "let's" and their like.
    """
    found = set[str]()
    for match in _REQUEST.finditer(text):
        found.update(words(" ".join(part for part in match.groups() if part)))
        found.update({"help", "please"} & set(words(match.group())))
    return frozenset(found)


def request_weights(text: str, terms: Sequence[str]) -> NDArray[np.float64]:
    """(T,) what each word of a text counts: `WORTH` for those of a request, 1 for the others."""
    requests = request_words(text)
    return np.array([WORTH if term in requests else 1.0 for term in terms])
