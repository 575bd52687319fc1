"""What a memory's file holds, in plain values."""

from __future__ import annotations

from typing import Any

from embodmem.store.store import Store


def counts(store: Store) -> dict[str, int]:
    """How many live records there are of each kind."""
    with store.read() as db:
        return dict(db.execute("SELECT kind, count(*) FROM record WHERE live GROUP BY kind ORDER BY kind").fetchall())


def about(store: Store) -> dict[str, Any]:
    """File, records by kind, time span, pictures, encoder, and how far a build came."""
    with store.read() as db:
        span = db.execute("SELECT min(first_ns), max(last_ns) FROM record WHERE live").fetchone()
        images = db.execute("SELECT ifnull(sum(length(image)), 0) FROM keyframe").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
    build = store.get_state("build")
    files = [store.path, store.path.with_name(store.path.name + "-wal")]
    return {
        "path": str(store.path),
        "bytes": sum(file.stat().st_size for file in files if file.exists()),
        "schema": version,
        "records": counts(store),
        "first_ns": span[0],
        "last_ns": span[1],
        "image_bytes": images,
        "encoder": store.get_state("encoder"),
        "build": None
        if build is None
        else f"{build['name']}: {min(build['next'], build['frames'])} of {build['frames']} frames",
    }
