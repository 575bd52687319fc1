"""`check_adapter` passes the house's adapter, and catches adapters that are wrong in the ways that happen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

import gymnasium

import embodmem_envs  # noqa: F401  (registers the environments)
from embodmem_envs import HouseAdapter
from embodmem_envs.testing import check_adapter


def boxes(env: Any) -> list[Any]:
    house = env.unwrapped
    things = [*house.furniture, *house.objects]
    return [(t.label, t.position - t.extent / 2, t.position + t.extent / 2) for t in things]


def maker(adapter: type[HouseAdapter]) -> Any:
    def make() -> tuple[Any, HouseAdapter]:
        return gymnasium.make("EmbodMem/House-v0", width=40, height=30, n_objects=12), adapter()

    return make


def test_the_house_keeps_the_contract() -> None:
    check_adapter(maker(HouseAdapter), boxes, least_seen=6)


class _Changed(HouseAdapter):
    def change(self, percept: Any) -> Any:
        raise NotImplementedError

    def percept(self, obs: Any, info: Any, stamp_ns: int | None = None) -> Any:
        return self.change(super().percept(obs, info, stamp_ns))


class Millimetres(_Changed):
    def change(self, percept: Any) -> Any:
        return replace(percept, depth=percept.depth * np.float32(1000))


class Mirrored(_Changed):
    def change(self, percept: Any) -> Any:
        return replace(percept, depth=percept.depth[:, ::-1].copy(), segmentation=percept.segmentation[:, ::-1].copy())


class AlongTheRay(_Changed):
    def change(self, percept: Any) -> Any:
        camera = percept.camera
        cols, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        stretch = np.sqrt(1 + ((cols - camera.cx) / camera.fx) ** 2 + ((rows - camera.cy) / camera.fy) ** 2)
        return replace(percept, depth=(percept.depth * stretch).astype(np.float32))


class OpenGLFrame(_Changed):
    def change(self, percept: Any) -> Any:
        return replace(percept, T_world_sensor=percept.T_world_sensor @ np.diag([1.0, -1.0, -1.0, 1.0]))


class WrongFieldOfView(_Changed):
    def change(self, percept: Any) -> Any:
        camera = percept.camera
        return replace(percept, camera=replace(camera, fx=camera.fx * 1.1, fy=camera.fy * 1.1))


class NamesNothing(_Changed):
    def change(self, percept: Any) -> Any:
        return replace(percept, labels={})


class Random(_Changed):
    rng = np.random.default_rng(0)

    def change(self, percept: Any) -> Any:
        return replace(percept, rgb=self.rng.integers(0, 255, percept.rgb.shape, dtype=np.uint8))


class OtherStamp(_Changed):
    def change(self, percept: Any) -> Any:
        return replace(percept, stamp_ns=percept.stamp_ns + 1)


class Backwards(HouseAdapter):
    def stamp_ns(self, info: Any) -> int:
        return 10**12 - super().stamp_ns(info)


class InSeconds(HouseAdapter):
    def stamp_ns(self, info: Any) -> Any:
        return super().stamp_ns(info) * 1e-9


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (Millimetres, "true box"),
        (Mirrored, "true box"),
        (AlongTheRay, "true box"),
        (OpenGLFrame, "true box"),
        (WrongFieldOfView, "true box"),
        (NamesNothing, "wanted a label for every instance"),
        (Random, "the same rgb"),
        (OtherStamp, "stamp it was given"),
        (Backwards, "or more at step"),
        (InSeconds, "whole nanoseconds"),
    ],
)
def test_what_is_wrong_is_caught(adapter: type[HouseAdapter], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_adapter(maker(adapter), boxes, steps=12)


def test_a_walk_that_saw_nothing_shows_nothing() -> None:
    with pytest.raises(AssertionError, match="came into view|labels or more in view"):
        check_adapter(maker(HouseAdapter), lambda env: [], steps=2)
