"""What every encoder checks."""

from __future__ import annotations

from collections.abc import Sequence

from embodmem.errors import InvalidInput


def check_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list; what is no Unicode (half a surrogate pair) is replaced by "?".

    Raises:
        InvalidInput: It is a single string, or holds something else than strings.
    """
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise InvalidInput(f"encode: wanted a list of strings, got {texts!r:.80}")
    return [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
