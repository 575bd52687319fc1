from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def house() -> Iterator[Any]:
    """One environment for the tests of a file; each test resets it with a seed before it looks."""
    gymnasium = pytest.importorskip("gymnasium")
    pytest.importorskip("mujoco")
    import embodmem_envs  # noqa: F401  (registers the environment)

    env = gymnasium.make("EmbodMem/House-v0").unwrapped
    yield env
    env.close()
