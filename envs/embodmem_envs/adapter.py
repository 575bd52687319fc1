"""From what a simulator returns to a `Percept`: the one place where its conventions of frames and ids are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from embodmem.errors import InvalidInput
from embodmem.types import Event, Percept, Pose

__all__ = ["Adapter", "HouseAdapter", "optical_from_mujoco"]


@runtime_checkable
class Adapter(Protocol):
    """Turns what one simulator returns into percepts and events."""

    def stamp_ns(self, info: Mapping[str, Any]) -> int:
        """The time of the step that `info` belongs to, ns."""

    def percept(self, obs: Any, info: Mapping[str, Any], stamp_ns: int) -> Percept:
        """What was seen at `stamp_ns`, with the camera's optical frame in the world."""

    def events(self, info: Mapping[str, Any], stamp_ns: int) -> tuple[Event, ...]:
        """What was done in this step; () where the simulator tells nothing of it."""

    def rooms(self, env: Any) -> Iterable[tuple[str, ArrayLike, ArrayLike]]:
        """Name, lower and upper corner (3,) in metres of each room of the world that is loaded; () where unknown."""


def optical_from_mujoco(position: ArrayLike, rotation: ArrayLike) -> Pose:
    """T_world_camera (4, 4) of the optical frame from `cam_xpos` (3,) and `cam_xmat` (9,) of MuJoCo.

    MuJoCo's camera looks along -z with y up and x right; the optical frame looks along +z with y down and x right.
    """
    pose = np.eye(4)
    pose[:3, :3] = np.asarray(rotation, dtype=np.float64).reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
    pose[:3, 3] = position
    return pose


class HouseAdapter:
    """The adapter of `EmbodMem/House-v0`.

    Depth, colour and segmentation are passed on as they are. Walls, floor and ceiling have the number 0 in the
    segmentation and so bear no label; furniture and objects bear theirs.

    Args:
        step_s: How long one step takes, seconds; must be that of the environment (`HouseConfig.step_s`).
        start_ns: The time of step 0, ns.
        agent: Name that percepts and events bear.
    """

    def __init__(self, step_s: float = 0.5, start_ns: int = 0, agent: str = "") -> None:
        if not step_s > 0:
            raise InvalidInput(f"adapter: wanted step_s > 0 seconds, got {step_s}")
        self.step_s = step_s
        self.start_ns = start_ns
        self.agent = agent

    def stamp_ns(self, info: Mapping[str, Any]) -> int:
        """The time of the step that `info` belongs to, ns.

        `info["step"]` counts on over `reset()` of the same apartment, so the stamps never decrease there.
        """
        return self.start_ns + round(int(_get(info, "step")) * self.step_s * 1e9)

    def percept(self, obs: Mapping[str, Any], info: Mapping[str, Any], stamp_ns: int | None = None) -> Percept:
        """What the robot's camera saw; the stamp is that of the step unless one is given.

        Raises:
            InvalidInput: `obs` or `info` is not of a house.
        """
        return Percept(
            stamp_ns=self.stamp_ns(info) if stamp_ns is None else stamp_ns,
            T_world_sensor=_get(info, "T_world_camera"),
            camera=_get(info, "camera"),
            depth=_get(obs, "depth"),
            rgb=_get(obs, "rgb"),
            segmentation=_get(obs, "segmentation"),
            labels=_get(info, "labels"),
            agent=self.agent,
        )

    def rooms(self, env: Any) -> Iterable[tuple[str, ArrayLike, ArrayLike]]:
        """The rooms of the apartment."""
        return tuple((room.name, room.lower, room.upper) for room in env.unwrapped.rooms)

    def events(self, info: Mapping[str, Any], stamp_ns: int | None = None) -> tuple[Event, ...]:
        """What the robot did in this step: a pick or a place that succeeded, or nothing."""
        what = info.get("event")
        if what is None:
            return ()
        label, where = what["label"], f"{what['support_label']} in the {what['room']}"
        text = (
            f"picked up the {label} from the {where}" if what["kind"] == "pick" else f"put the {label} on the {where}"
        )
        return (
            Event(
                stamp_ns=self.stamp_ns(info) if stamp_ns is None else stamp_ns,
                kind=what["kind"],
                text=text,
                T_world_body=_get(info, "T_world_base"),
                objects=(label,),
                outcome="done",
                source="robot",
                agent=self.agent,
            ),
        )


def _get(values: Mapping[str, Any], key: str) -> Any:
    try:
        return values[key]
    except (KeyError, TypeError, IndexError):
        has = sorted(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
        raise InvalidInput(f"house adapter: wanted {key!r} of EmbodMem/House-v0, got {has}") from None
