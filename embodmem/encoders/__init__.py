"""Words to vectors: an offline default and a small sentence model, behind one protocol (`embodmem.types.Encoder`)."""

from __future__ import annotations

import importlib.util

from embodmem.encoders.hashing import HashingEncoder
from embodmem.encoders.minilm import MiniLmEncoder, model_folder
from embodmem.errors import ConfigError
from embodmem.types import Encoder

__all__ = ["HashingEncoder", "MiniLmEncoder", "find_encoder", "make_encoder"]


def make_encoder(name: str) -> Encoder:
    """The encoder of a configuration.

    Args:
        name: "hashing", "minilm", or "auto" for MiniLM where it is installed and hashing otherwise.

    Raises:
        ConfigError: The name is not known.
        MissingDependency: "minilm" was asked for and is not installed.
    """
    if name not in ("hashing", "minilm", "auto"):
        raise ConfigError(f"encoder: wanted 'hashing', 'minilm' or 'auto', got {name!r}")
    if name == "auto":
        name = "minilm" if _has_minilm() else "hashing"
    return MiniLmEncoder() if name == "minilm" else HashingEncoder()


def find_encoder(name: str) -> Encoder | None:
    """The encoder of a model's own name, as a memory's file keeps it; None where it cannot be had here."""
    if name == HashingEncoder().name:
        return HashingEncoder()
    return MiniLmEncoder() if name == "all-MiniLM-L6-v2" and _has_minilm() else None


_MINILM_NEEDS = ("tokenizers", "safetensors", "threadpoolctl")


def _has_minilm() -> bool:
    return bool(model_folder() and all(importlib.util.find_spec(package) for package in _MINILM_NEEDS))
