"""Statements beside the schema: what many new records owe the indexes, and which records a transaction changed."""

from __future__ import annotations

BULK = """
INSERT INTO record_words (rowid, label, text) SELECT id, label, text FROM record WHERE id >= ?1;
INSERT OR REPLACE INTO record_area SELECT id >> 6, min(x0), max(x1), min(y0), max(y1), min(z0), max(z1) FROM record \
WHERE id >= ?1 & ~63 AND x0 IS NOT NULL GROUP BY id >> 6;
INSERT INTO touched SELECT id FROM record WHERE id >= ?1;
DELETE FROM state WHERE name = 'bulk' AND ?1;
""".strip().splitlines()
"""What an insertion of many new records owes the indexes; ?1: the first id."""

MERGE = "INSERT INTO record_words (record_words, rank) VALUES ('merge', ?)"
"""Merge segments of the word index, at most so many pages of it.

SQLite's own merging comes in bursts of many pages, which one write then waits for; it is switched off. Sixteen segments
of a level become one, which is little where each is of a single write, and large transactions merge in proportion.
"""

MERGE_FROM = 1000
"""From so many changed records on, a transaction merges."""

RECORDS_PER_PAGE = 16

_TOUCH = tuple((table, what) for table in ("record", "record_vector") for what in ("INSERT", "UPDATE", "DELETE"))
_NOT_BULK = "WHEN NOT EXISTS (SELECT 1 FROM main.state WHERE name = 'bulk')"

# No INSERT OR IGNORE: the conflict clause of the statement that fires a trigger takes the place of the trigger's own.
TOUCHED = "CREATE TEMP TABLE touched (id INTEGER PRIMARY KEY);" + "".join(
    f"CREATE TEMP TRIGGER touched_{table}_{what.lower()} AFTER {what} ON main.{table} "
    f"{_NOT_BULK if what == 'INSERT' else ''} BEGIN INSERT INTO touched "
    f"SELECT {'old' if what == 'DELETE' else 'new'}.id "
    f"WHERE NOT EXISTS (SELECT 1 FROM touched WHERE id = {'old' if what == 'DELETE' else 'new'}.id); END;"
    for table, what in _TOUCH
)
"""Notes which records a transaction changed, whoever changed them; of one connection, never in the file."""
