"""The settings of the node as ROS parameters: names, defaults, descriptions and ranges, without ROS."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from embodmem.config import config_from
from embodmem_ros.config import NodeConfig

LEFT_TO_ROS = ("name", "namespace", "dds")
"""What ROS itself decides."""

_RANGES: dict[str, tuple[float, float]] = {
    "input.slop_s": (0.0, 1.0),
    "input.queue": (1, 100_000),
    "input.tf_wait_s": (0.0, 60.0),
    "input.tf_history_s": (1.0, 3600.0),
    "input.batch": (1, 256),
    "output.period_s": (0.05, 3600.0),
    "output.grid_z_min_m": (-1000.0, 1000.0),
    "output.grid_z_max_m": (-1000.0, 1000.0),
    "qos.depth": (1, 100_000),
    "memory.store.jpeg_quality": (1, 95),
    "memory.spatial.voxel_size_m": (0.005, 5.0),
    "memory.spatial.min_range_m": (0.0, 100.0),
    "memory.spatial.max_range_m": (0.1, 1000.0),
    "memory.spatial.budget_mib": (0.01, 65536.0),
    "memory.spatial.threads": (1, 256),
    "memory.scene.min_score": (0.0, 1.0),
    "memory.scene.min_sightings": (1, 10_000),
}


class Parameter(NamedTuple):
    """One parameter.

    Attributes:
        name: "input.slop_s".
        default: Its default.
        description: What it is, from the docstring of the setting.
        range: Lowest and highest value, or None.
    """

    name: str
    default: bool | int | float | str
    description: str
    range: tuple[float, float] | None


def _descriptions(kind: type) -> dict[str, str]:
    """Name of a field -> the string below it in the source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            told = below.value if isinstance(below, ast.Expr) else None
            if isinstance(told, ast.Constant):
                found[field.target.id] = " ".join(str(told.value).split())
    return found


def _walk(settings: Any, prefix: str) -> Iterator[Parameter]:
    told = _descriptions(type(settings))
    for field in dataclasses.fields(settings):
        name, value = f"{prefix}{field.name}", getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            if name not in LEFT_TO_ROS:
                yield from _walk(value, f"{name}.")
        elif name not in LEFT_TO_ROS and isinstance(value, (bool, int, float, str)):
            yield Parameter(name, value, told.get(field.name, ""), _RANGES.get(name))


def parameters() -> list[Parameter]:
    """All parameters. Settings that are lists have none; they keep their defaults."""
    return list(_walk(NodeConfig(), ""))


def config_from_parameters(values: Mapping[str, Any], name: str, namespace: str) -> NodeConfig:
    """Settings of a node from its parameters.

    Args:
        values: Name of a parameter -> value; those that are left out keep their defaults.
        name: The node's name.
        namespace: Its namespace.

    Raises:
        ConfigError: A parameter is not known, or a value is not as wanted.
    """
    tree: dict[str, Any] = {"name": name, "namespace": namespace}
    for path, value in values.items():
        *parents, last = path.split(".")
        here = tree
        for parent in parents:
            here = here.setdefault(parent, {})
        here[last] = value
    return config_from(tree, NodeConfig, where="parameters")
