"""Named values, and the newest stamp of each agent, in the memory's file."""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

from embodmem.errors import StampError


class State(ABC):
    """What a store keeps beside its records."""

    @abstractmethod
    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        """A consistent snapshot for reading."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """One writing transaction."""

    def get_state(self, name: str, default: Any = None) -> Any:
        """A named plain value, or `default`."""
        with self.read() as db:
            row = db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    def set_state(self, name: str, value: Any) -> None:
        """Keep a named plain value (JSON)."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, json.dumps(value)))

    def advance(self, owner: str, agent: str, stamp_ns: int) -> None:
        """Note the newest stamp of an agent.

        Raises:
            StampError: It is older than the one before.
        """
        with self.transaction() as db:
            newest = self.newest_stamp(owner, agent)
            if newest is not None and stamp_ns < newest:
                who = f"agent {agent!r}" if agent else "this agent"
                raise StampError(f"stamp_ns: wanted {newest} or later for {who}, got {stamp_ns}: time went backwards")
            db.execute("INSERT OR REPLACE INTO stamp VALUES (?, ?, ?)", (owner, agent, stamp_ns))

    def newest_stamp(self, owner: str, agent: str | None = None) -> int | None:
        """The newest stamp of an agent, or of all agents; None before the first."""
        with self.read() as db:
            sql = "SELECT max(ns) FROM stamp WHERE owner = ? AND (? IS NULL OR agent = ?)"
            newest: int | None = db.execute(sql, (owner, agent, agent)).fetchone()[0]
        return newest
