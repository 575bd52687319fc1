"""When nobody reads or writes: the time for what can wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

QUIET_S = 0.05
"""How long nobody shall have read or written."""


class Quiet:
    """Waits until nobody reads or writes.

    Args:
        is_in_use: Whether somebody reads or writes now.

    Attributes:
        uses: How often somebody began to; a rough count, since several threads add to it.
    """

    def __init__(self, is_in_use: Callable[[], bool]) -> None:
        self._is_in_use = is_in_use
        self.uses = 0

    def wait(
        self, hurry: threading.Event, at_most_s: float = float("inf"), is_patient: Callable[[], bool] = lambda: True
    ) -> bool:
        """Wait for it, `at_most_s` seconds and while one is patient.

        Args:
            hurry: Ends the waiting.
            at_most_s: After so long it ends, too.
            is_patient: Asked now and then; False ends it.

        Returns:
            Whether it is quiet.
        """
        until = time.monotonic() + at_most_s
        before = -1
        while before != self.uses or self._is_in_use():
            before = self.uses
            if time.monotonic() >= until or not is_patient() or hurry.wait(QUIET_S):
                return False
        return not hurry.is_set()
