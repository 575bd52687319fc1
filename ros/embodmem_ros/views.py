"""Views on their way into the memory: messages that belong together, and what they still wait for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from embodmem.datasets.ros_transforms import TransformError
from embodmem.geometry import Pose


class View(NamedTuple):
    """Messages that make one percept.

    Attributes:
        stamp_ns: Their stamp, ns.
        serial: Tells views of one stamp apart, so that messages are never compared.
        since_s: When they were complete, by the service's clock.
        messages: Stream -> message.
        T_world_sensor: (4, 4) pose of their sensor in the world; None until its transform has come.
    """

    stamp_ns: int
    serial: int
    since_s: float
    messages: dict[str, Any]
    T_world_sensor: Pose | None = None

    @property
    def frame(self) -> str:
        """The sensor's frame."""
        return str(next(iter(self.messages.values())).header.frame_id)


class NotYet(Exception):
    """What a view needs is not there; `kind` is the counter for when it does not come."""

    def __init__(self, kind: str, why: str, may_come: bool) -> None:
        super().__init__(why)
        self.kind = kind
        self.may_come = may_come


def pinned(views: Sequence[View], lookup: Callable[[str, int], Pose]) -> dict[int, View]:
    """Serial -> view with its pose, of those that had none and whose transform is there now.

    Poses are taken as soon as they are known, because a view may wait to be written for longer than transforms are
    kept.

    Args:
        views: In the order of their stamps.
        lookup: Frame and stamp in ns -> pose of the frame in the world; raises TransformError.
    """
    found, behind = {}, set()
    for view in views:
        if view.T_world_sensor is None and view.frame not in behind:
            try:
                found[view.serial] = view._replace(T_world_sensor=lookup(view.frame, view.stamp_ns))
            except TransformError as error:
                if error.may_come:  # then those of later stamps are not there either
                    behind.add(view.frame)
    return found
