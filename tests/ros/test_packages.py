"""The colcon packages: manifests, definitions with stable hashes, parameters, and that colcon finds them."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from embodmem.datasets.ros_definitions import type_store
from embodmem.errors import ConfigError
from embodmem_ros import NodeConfig, load_node_config
from embodmem_ros.parameters import config_from_parameters, parameters

ROOT = Path(__file__).resolve().parents[2]
ROS = ROOT / "ros"
HASHES = {
    "embodmem_msgs/msg/RecallItem": "b276c68987fdde9f",
    "embodmem_msgs/srv/Recall_Request": "70c16fbb3639f1a3",
    "embodmem_msgs/srv/Recall_Response": "f3c57cd653907a88",
    "embodmem_msgs/srv/Remember_Request": "fc2d99750c346ce0",
    "embodmem_msgs/srv/Remember_Response": "2ff04864b9a55dc9",
    "embodmem_msgs/srv/Forget_Request": "aa916c20a9f31c02",
    "embodmem_msgs/srv/Forget_Response": "f8541e04946cbd89",
}
"""Types on the wire: who changes one breaks every robot that has the old one, and gives it a new name instead."""


def definitions() -> dict[str, str]:
    folder = ROS / "embodmem_msgs"
    found = {f"embodmem_msgs/msg/{path.stem}": path.read_text() for path in folder.glob("msg/*.msg")}
    for path in folder.glob("srv/*.srv"):
        request, response = re.split(r"^---$", path.read_text(), flags=re.M)
        found |= {
            f"embodmem_msgs/srv/{path.stem}_Request": request,
            f"embodmem_msgs/srv/{path.stem}_Response": response,
        }
    return found


def test_definitions_register_with_stable_hashes() -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    types = {}
    for name, text in definitions().items():
        types |= {key.replace("/srv/msg/", "/srv/"): value for key, value in get_types_from_msg(text, name).items()}
    store.register(types)
    assert {name: store.hash_rihs01(name).removeprefix("RIHS01_")[:16] for name in definitions()} == HASHES
    for name in definitions():  # the wheel's own copy is the same
        assert type_store().hash_rihs01(name) == store.hash_rihs01(name)


@pytest.mark.parametrize("name", ["embodmem_msgs", "embodmem_node"])
def test_manifests_are_valid(name: str) -> None:
    package = pytest.importorskip("catkin_pkg.package").parse_package(str(ROS / name))
    assert package.name == name and package.package_format == 3 and package.licenses == ["Apache-2.0"]
    assert package.get_build_type() == {"embodmem_msgs": "ament_cmake", "embodmem_node": "ament_python"}[name]


def test_the_node_depends_on_every_package_of_its_messages() -> None:
    package = pytest.importorskip("catkin_pkg.package").parse_package(str(ROS / "embodmem_node"))
    depends = {dependency.name for dependency in package.exec_depends}
    source = (ROS / "embodmem_ros" / "ports.py").read_text()
    assert set(re.findall(r'"(\w+)/(?:msg|srv)/\w+"', source)) <= depends
    roots = ("embodmem_ros/rclpy_node.py", "embodmem_node/launch/memory.launch.py")
    imported = {
        (node.module or "").split(".")[0]
        for path in roots
        for node in ast.walk(ast.parse((ROS / path).read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    assert imported - {"embodmem", "embodmem_ros"} - sys.stdlib_module_names <= depends


def test_every_definition_is_generated_and_every_file_installed() -> None:
    listed = re.findall(r'"((?:msg|srv)/\w+\.(?:msg|srv))"', (ROS / "embodmem_msgs" / "CMakeLists.txt").read_text())
    folder = ROS / "embodmem_msgs"
    assert sorted(listed) == sorted(str(p.relative_to(folder)) for k in ("msg", "srv") for p in folder.glob(f"{k}/*"))
    node = ROS / "embodmem_node"
    setup = (node / "setup.py").read_text()
    for kind in ("launch", "config"):
        assert all(f"{kind}/{path.name}" in setup for path in (node / kind).iterdir() if path.is_file())
    assert (node / "resource" / "embodmem_node").is_file()
    assert "install_scripts=$base/lib/embodmem_node" in (node / "setup.cfg").read_text()


def colcon(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run colcon, with its logs and its home in a folder."""
    found = shutil.which("colcon")
    if found is None:
        pytest.skip("colcon is not on the PATH (it pins setuptools, and lives in an environment of its own)")
    command = [found, "--log-base", str(home / "log"), *arguments]
    unset = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, cwd=home, env={**unset, "HOME": str(home)}
    )
    assert done.returncode == 0, done.stderr
    return done


def test_colcon_builds_the_node_where_ros_looks_for_it(tmp_path: Path) -> None:
    shutil.copytree(ROS / "embodmem_node", tmp_path / "src" / "embodmem_node")
    colcon(tmp_path, "build", "--base-paths", "src")
    prefix = tmp_path / "install" / "embodmem_node"
    assert (prefix / "share" / "ament_index" / "resource_index" / "packages" / "embodmem_node").is_file()
    for name in ("package.xml", "launch/memory.launch.py", "config/memory.yaml"):
        assert (prefix / "share" / "embodmem_node" / name).is_file(), name
    program = prefix / "lib" / "embodmem_node" / "memory"
    # The Python of an environment that is active when it starts, and not the one that colcon runs in.
    assert program.read_text().splitlines()[0] == "#!/usr/bin/env python3" and os.access(program, os.X_OK)


def test_colcon_finds_both_packages(tmp_path: Path) -> None:
    for name in ("setup.py", "setup.cfg", "package.xml"):
        assert not (ROOT / name).exists(), f"with {name} in the root colcon would not look further"
    listed = colcon(tmp_path, "list", "--base-paths", str(ROOT))
    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    ours = {row[0]: row[2] for row in rows if row[0].startswith("embodmem")}
    assert ours == {"embodmem_msgs": "(ros.ament_cmake)", "embodmem_node": "(ros.ament_python)"}


def test_every_setting_is_a_described_parameter() -> None:
    known = {parameter.name: parameter for parameter in parameters()}
    assert known["input.slop_s"].default == 0.02 and known["input.slop_s"].range == (0.0, 1.0)
    assert known["memory.spatial.voxel_size_m"].default == 0.05
    assert all(parameter.description.endswith(".") for parameter in known.values()), [
        name for name, parameter in known.items() if not parameter.description.endswith(".")
    ]
    for parameter in known.values():
        if parameter.range is not None and not isinstance(parameter.default, str):
            assert parameter.range[0] <= parameter.default <= parameter.range[1], parameter
    defaults = {name: parameter.default for name, parameter in known.items()}
    assert config_from_parameters(defaults, "embodmem", "/") == NodeConfig()
    changed = config_from_parameters({"qos.reliability": "reliable", "memory.scene.min_sightings": 5}, "m", "/robot")
    assert changed.qos.reliability == "reliable" and changed.memory.scene.min_sightings == 5
    assert changed.full_name("~/recall") == "/robot/m/recall"
    with pytest.raises(ConfigError, match="unknown key 'slop'; did you mean 'slop_s'"):
        config_from_parameters({"input.slop": 1.0}, "m", "/")


def test_the_settings_of_the_launch_file_are_parameters() -> None:
    content = yaml.safe_load((ROS / "embodmem_node" / "config" / "memory.yaml").read_text())
    tree = content["/**/embodmem"]["ros__parameters"]
    known = {parameter.name for parameter in parameters()}

    def names(values: dict[str, object], prefix: str = "") -> set[str]:
        return {
            name
            for key, value in values.items()
            for name in (names(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"})
        }

    assert names(tree) <= known


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("ros_*.yaml")), ids=lambda path: path.stem)
def test_example_settings_load(path: Path) -> None:
    config = load_node_config(path)
    assert config != NodeConfig()
    assert dataclasses.is_dataclass(config.memory) and config.topics.depth


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "node.yaml"
    for text, wanted in (
        ("topic: {}", "unknown key 'topic'; did you mean 'topics'?"),
        ("qos: {reliability: reliabel}", "qos.reliability: wanted reliable or best_effort, got 'reliabel'"),
        ("topics: {camera_info: ''}", "topics.camera_info: wanted a topic"),
        ("a: [", "wanted a YAML file of settings"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=re.escape(wanted)):
            load_node_config(path)
