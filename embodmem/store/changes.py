"""Statements beside the schema: what many new records owe the indexes, and which records a transaction changed."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

TOUCH = (
    "INSERT INTO touched SELECT id FROM record WHERE id BETWEEN ?1 AND ?2 AND id NOT IN (SELECT id FROM touched)",
    "DELETE FROM record_block WHERE number BETWEEN ?1 >> 10 AND ?2 >> 10",
)
"""That records ?1 to ?2 have changed where no trigger tells: new ones, and new vectors of old ones."""

_NEW = (
    "INSERT INTO record_words (rowid, label, text) SELECT id, label, text FROM record WHERE id BETWEEN ?1 AND ?2",
    # A box that holds the new ones already stays as it is.
    "INSERT OR REPLACE INTO record_area SELECT id >> 6, min(x0), max(x1), min(y0), max(y1), min(z0), max(z1) "
    "FROM record WHERE id BETWEEN ?1 & ~63 AND ?2 | 63 AND x0 IS NOT NULL AND EXISTS ("
    "SELECT 1 FROM record n WHERE n.id BETWEEN ?1 AND ?2 AND n.x0 IS NOT NULL AND NOT EXISTS ("
    "SELECT 1 FROM record_area a WHERE a.id = n.id >> 6 AND a.x0 <= n.x0 AND a.y0 <= n.y0 AND a.z0 <= n.z0 "
    "AND a.x1 >= n.x1 AND a.y1 >= n.y1 AND a.z1 >= n.z1)) GROUP BY id >> 6",
    *TOUCH,
    "INSERT OR REPLACE INTO reworded SELECT id, 1 FROM record WHERE id BETWEEN ?1 AND ?2",
)


def note_new(db: sqlite3.Connection, first: int, last: int) -> None:
    """Fill the indexes for new records with ids from `first` to `last`: whoever inserts into `record` calls it.

    Triggers would do it, too; for many records they cost more than all else that SQLite does for them.
    """
    for statement in _NEW:
        db.execute(statement, (first, last))


MERGE = "INSERT INTO record_words (record_words, rank) VALUES ('merge', ?)"
"""Merge segments of the word index, at most so many pages of it.

SQLite's own merging comes in bursts of many pages, which one write then waits for; it is switched off. Sixteen segments
of a level become one, which is little where each is of a single write, and large transactions merge in proportion.
"""

MERGE_FROM = 1000
"""From so many changed records on, a transaction merges."""

RECORDS_PER_PAGE = 16

_WATCHED = tuple((table, what) for table in ("record", "record_vector") for what in ("UPDATE", "DELETE"))

# No INSERT OR IGNORE: the conflict clause of the statement that fires a trigger takes the place of the trigger's own.
TOUCHED = "CREATE TEMP TABLE touched (id INTEGER PRIMARY KEY);" + "".join(
    f"CREATE TEMP TRIGGER touched_{table}_{what.lower()} AFTER {what} ON main.{table} "
    f"BEGIN INSERT INTO touched SELECT {'old' if what == 'DELETE' else 'new'}.id "
    f"WHERE NOT EXISTS (SELECT 1 FROM touched WHERE id = {'old' if what == 'DELETE' else 'new'}.id); END;"
    for table, what in _WATCHED
)
"""Notes which records a transaction changed or removed, whoever did it; of one connection, never in the file."""

REWORDED = (
    "CREATE TEMP TABLE reworded (id INTEGER PRIMARY KEY, is_there INTEGER);"
    "CREATE TEMP TRIGGER reworded_update AFTER UPDATE OF label, text ON main.record "
    "WHEN new.label IS NOT old.label OR new.text IS NOT old.text "
    "BEGIN DELETE FROM reworded WHERE id = new.id; INSERT INTO reworded VALUES (new.id, 1); END;"
    "CREATE TEMP TRIGGER reworded_delete AFTER DELETE ON main.record "
    "BEGIN DELETE FROM reworded WHERE id = old.id; INSERT INTO reworded VALUES (old.id, 0); END;"
)
"""Notes the records of which a transaction changed the words, and those that it removed."""


class Changed(NamedTuple):
    """What a transaction changed.

    Attributes:
        records: Ids, ascending, of all records that are new, changed or gone.
        said: Of those that say something new.
        gone: Of those that are gone.
    """

    records: list[int]
    said: list[int]
    gone: list[int]


def take_changed(db: sqlite3.Connection) -> Changed:
    """What the running transaction changed; it is noted no more."""
    records = [row[0] for row in db.execute("SELECT id FROM touched ORDER BY id")]
    if not records:
        return Changed([], [], [])
    words = db.execute("SELECT id, is_there FROM reworded ORDER BY id").fetchall()
    db.execute("DELETE FROM touched")
    db.execute("DELETE FROM reworded")
    return Changed(records, [n for n, there in words if there], [n for n, there in words if not there])
