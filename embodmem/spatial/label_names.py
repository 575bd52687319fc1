"""Numbers for the labels that voxels bear: a voxel has room for 16 bits, not for a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodmem.errors import InvalidInput

MOST = (1 << 16) - 1
_WIDEST = 1 << 16


class LabelNames:
    """Texts and their numbers, 1 .. 65535 in the order in which they came; 0 is none.

    Args:
        texts: Of the numbers from 1 on; "" is one that was forgotten, and stays vacant.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts = ["", *texts]
        self._numbers = {text: number for number, text in enumerate(self.texts) if text}

    def __len__(self) -> int:
        return len(self._numbers)

    def find(self, text: str) -> int | None:
        """The number of a text, or None."""
        return self._numbers.get(text)

    def add(self, text: str) -> int:
        """The number of a text, a new one where it has none.

        Raises:
            InvalidInput: All numbers are taken.
        """
        number = self._numbers.get(text)
        if number is None:
            number = len(self.texts)
            if number > MOST:
                raise InvalidInput(f"labels: wanted at most {MOST} different ones in a map, got {text!r} beyond them")
            self.texts.append(text)
            self._numbers[text] = number
        return number

    def remove(self, text: str) -> None:
        """Forget a text; its number is not given out again, since an older copy of the map may hold it."""
        self.texts[self._numbers.pop(text)] = ""

    def matching(self, labels: Iterable[str]) -> list[str]:
        """Texts that are one of these labels, whatever their case."""
        wanted = {label.casefold() for label in labels}
        return [text for text in self._numbers if text.casefold() in wanted]

    def numbers_of(self, ids: NDArray[np.integer[Any]], labels: Mapping[int, str]) -> NDArray[np.uint16]:
        """Numbers, in the shape of `ids`, of the labels of instance ids; 0 for ids without one, and for the id 0."""
        known = sorted((number, self.add(text)) for number, text in labels.items() if text and number > 0)
        if not known:
            return np.zeros(ids.shape, dtype=np.uint16)
        instances, numbers = np.array(known, dtype=np.int64).T
        last = int(instances[-1])
        if last < _WIDEST:
            table = np.zeros(last + 2, dtype=np.uint16)
            table[instances] = numbers
            return np.asarray(table[np.clip(ids, 0, last + 1)])
        place = np.minimum(np.searchsorted(instances, ids), len(instances) - 1)
        return np.where(instances[place] == ids, numbers[place], 0).astype(np.uint16)
