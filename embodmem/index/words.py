"""Words of a text, for the word index."""

from __future__ import annotations

import re

_STOP = """a about all am an and any are as at be been but by can did do does for from had has have he her here him his
how i if in into is it its last latest me more my no not of on or our she so some than that the their them then there
these they this those to was we were what when where which who whose why will with would you your"""

STOP_WORDS = frozenset(_STOP.split())
"""Words that say nothing about what is looked for."""


def words(text: str) -> list[str]:
    """The lower-case words of a text, in order, repeats included."""
    return re.findall(r"\w+", text.lower())


def content_words(text: str) -> list[str]:
    """The words that say what a text is about, each once; all of them when there are only stop words."""
    found = list(dict.fromkeys(words(text)))
    return [word for word in found if word not in STOP_WORDS] or found


def match_expression(text: str, every: bool = False) -> str:
    """An FTS5 expression that matches any content word of a text (or every one); "" when the text has no words."""
    return (" AND " if every else " OR ").join(f'"{word}"' for word in content_words(text))
