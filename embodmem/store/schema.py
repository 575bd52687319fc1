"""The tables of a memory's file, as steps from one version to the next.

A new file runs all steps, an older file the ones that it lacks, so both end with the same tables. A step that has
been released is never edited; a change of the schema is a new step at the end.
"""

from __future__ import annotations

import sqlite3

from embodmem.store.first_steps import FIRST_STEPS

APPLICATION_ID = 0x656D626D
"""Marks an SQLite file as an embodmem memory ("embm")."""

_VECTORS = """
-- Vectors stand apart from the rows that filters read.
CREATE TABLE record_vector (id INTEGER PRIMARY KEY REFERENCES record ON DELETE CASCADE,
    embedding BLOB NOT NULL);           -- float32, unit norm, of the encoder named in `state`
INSERT INTO record_vector SELECT id, embedding FROM record WHERE embedding IS NOT NULL;
ALTER TABLE record DROP COLUMN embedding;
-- What a search holds in RAM of the records with ids from 1024 * number on, to open large memories fast. It can be made
-- again from the records at any time, and is dropped with any change to one of them.
CREATE TABLE record_block (number INTEGER PRIMARY KEY, content BLOB NOT NULL);
-- While `state` holds "bulk", within one transaction, whoever inserts fills the indexes: a statement for all rows costs
-- a tenth of a trigger for each.
DROP TRIGGER record_insert;
DROP TRIGGER record_insert_box;
CREATE TRIGGER record_insert AFTER INSERT ON record WHEN NOT EXISTS (SELECT 1 FROM state WHERE name = 'bulk') BEGIN
    INSERT INTO record_words (rowid, label, text) VALUES (new.id, new.label, new.text);
    INSERT INTO record_box SELECT new.id, new.x0, new.x1, new.y0, new.y1, new.z0, new.z1 WHERE new.x0 IS NOT NULL;
    DELETE FROM record_block WHERE number = new.id >> 10;
END;
CREATE TRIGGER block_record_update AFTER UPDATE ON record BEGIN
    DELETE FROM record_block WHERE number = old.id >> 10;
END;
CREATE TRIGGER block_record_delete AFTER DELETE ON record BEGIN
    DELETE FROM record_block WHERE number = old.id >> 10;
END;
CREATE TRIGGER block_vector_insert AFTER INSERT ON record_vector
WHEN NOT EXISTS (SELECT 1 FROM state WHERE name = 'bulk') BEGIN
    DELETE FROM record_block WHERE number = new.id >> 10;
END;
CREATE TRIGGER block_vector_update AFTER UPDATE ON record_vector BEGIN
    DELETE FROM record_block WHERE number = old.id >> 10;
END;
CREATE TRIGGER block_vector_delete AFTER DELETE ON record_vector BEGIN
    DELETE FROM record_block WHERE number = old.id >> 10;
END;
"""

_LIFE = """
CREATE TABLE life (id INTEGER PRIMARY KEY REFERENCES record ON DELETE CASCADE,
    pinned INTEGER NOT NULL DEFAULT 0, expires_ns INTEGER,
    uses INTEGER NOT NULL DEFAULT 0, used_ns INTEGER);
CREATE TABLE change (number INTEGER PRIMARY KEY AUTOINCREMENT, stamp_ns INTEGER NOT NULL,
    what TEXT NOT NULL, why TEXT NOT NULL, made INTEGER REFERENCES record ON DELETE SET NULL);
CREATE INDEX change_made ON change (made) WHERE made IS NOT NULL;
-- What a change took out of recall, until it is settled.
CREATE TABLE change_part (change INTEGER NOT NULL REFERENCES change ON DELETE CASCADE,
    id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE, PRIMARY KEY (change, id)) WITHOUT ROWID;
CREATE INDEX change_part_id ON change_part (id);
"""

_SEGMENTATIONS = """
-- What a keyframe's pixels belong to, kept with its depth: PNG of the numbers of `labels`, 0 = nothing known.
ALTER TABLE keyframe_depth ADD COLUMN segmentation BLOB;
ALTER TABLE keyframe_depth ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';    -- JSON: texts of the numbers from 1 on
"""

_CONTENTS = """
CREATE TABLE event_content (
    id INTEGER PRIMARY KEY REFERENCES record ON DELETE CASCADE,
    digest INTEGER NOT NULL,            -- the first 64 bits of an event's content_hash
    action TEXT NOT NULL, modality TEXT NOT NULL    -- in lower case
);
CREATE INDEX event_content_digest ON event_content (digest);
CREATE INDEX event_content_action ON event_content (action) WHERE action != '';
CREATE INDEX event_content_modality ON event_content (modality) WHERE modality != '';
-- Vectors that came with what was written. Those of the encoder's own model stand in record_vector as well.
CREATE TABLE given_vector (id INTEGER PRIMARY KEY REFERENCES record ON DELETE CASCADE,
    model TEXT NOT NULL, embedding BLOB NOT NULL);  -- float32, unit norm
CREATE INDEX given_vector_model ON given_vector (model, id);
"""

_SUMMARIES = """
-- What records of the kind summary stand for: a window of time, or (scale 0) a segment between two boundaries.
CREATE TABLE summary (id INTEGER PRIMARY KEY REFERENCES record ON DELETE CASCADE,
    scale_ns INTEGER NOT NULL, begin_ns INTEGER NOT NULL);
CREATE INDEX summary_window ON summary (scale_ns, begin_ns);
-- Windows in which something is new.
CREATE TABLE summary_due (scale_ns INTEGER NOT NULL, begin_ns INTEGER NOT NULL,
    PRIMARY KEY (scale_ns, begin_ns)) WITHOUT ROWID;
"""

_AREA = """
SELECT {group}, min(x0), max(x1), min(y0), max(y1), min(z0), max(z1) FROM record
WHERE id BETWEEN 64 * ({group}) AND 64 * ({group}) + 63 AND x0 IS NOT NULL HAVING count(*)
"""

_AREAS = f"""
-- The place index holds the box around those of the records 64 * id .. 64 * id + 63 that have a place: what follows one
-- another mostly happens near by, and an entry for 64 costs little beside one for each. Their own columns are exact.
CREATE VIRTUAL TABLE record_area USING rtree (id, x0, x1, y0, y1, z0, z1);
INSERT INTO record_area
SELECT id >> 6, min(x0), max(x1), min(y0), max(y1), min(z0), max(z1) FROM record WHERE x0 IS NOT NULL GROUP BY id >> 6;
DROP TRIGGER record_insert;
DROP TRIGGER record_delete;
DROP TRIGGER record_update_box;
DROP TABLE record_box;
CREATE TRIGGER record_insert AFTER INSERT ON record WHEN NOT EXISTS (SELECT 1 FROM state WHERE name = 'bulk') BEGIN
    INSERT INTO record_words (rowid, label, text) VALUES (new.id, new.label, new.text);
    DELETE FROM record_block WHERE number = new.id >> 10;
END;
CREATE TRIGGER record_insert_area AFTER INSERT ON record
WHEN new.x0 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM state WHERE name = 'bulk')
AND NOT EXISTS (SELECT 1 FROM record_area WHERE id = new.id >> 6 AND x0 <= new.x0 AND y0 <= new.y0 AND z0 <= new.z0
    AND x1 >= new.x1 AND y1 >= new.y1 AND z1 >= new.z1) BEGIN
    INSERT OR REPLACE INTO record_area {_AREA.format(group="new.id >> 6")};
END;
CREATE TRIGGER record_delete AFTER DELETE ON record BEGIN
    INSERT INTO record_words (record_words, rowid, label, text) VALUES ('delete', old.id, old.label, old.text);
END;
-- A box shrinks, too, so that it does not tell where something was that is forgotten.
CREATE TRIGGER record_delete_area AFTER DELETE ON record WHEN old.x0 IS NOT NULL BEGIN
    DELETE FROM record_area WHERE id = old.id >> 6;
    INSERT INTO record_area {_AREA.format(group="old.id >> 6")};
END;
CREATE TRIGGER record_update_area AFTER UPDATE OF x0, x1, y0, y1, z0, z1 ON record
WHEN old.x0 IS NOT new.x0 OR old.y0 IS NOT new.y0 OR old.z0 IS NOT new.z0
OR old.x1 IS NOT new.x1 OR old.y1 IS NOT new.y1 OR old.z1 IS NOT new.z1 BEGIN
    DELETE FROM record_area WHERE id = old.id >> 6;
    INSERT INTO record_area {_AREA.format(group="old.id >> 6")};
END;
-- Segments of the word index are merged as `store.changes` says.
INSERT INTO record_words (record_words, rank) VALUES ('automerge', 0);
"""

_NOTES = """
-- A note, and an earlier one that it is like.
CREATE TABLE note_link (id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE,
    ref INTEGER NOT NULL REFERENCES record ON DELETE CASCADE, score REAL NOT NULL, PRIMARY KEY (id, ref)) WITHOUT ROWID;
CREATE INDEX note_link_ref ON note_link (ref);
"""

_NEW = """
-- Whoever inserts into `record` calls `store.changes.note_new`, which fills the indexes for all new rows at once.
DROP TRIGGER record_insert;
DROP TRIGGER record_insert_area;
DROP TRIGGER block_vector_insert;
"""

_PIECES = """
-- Signs of the vectors of a text's word pieces, a bit a component (embodmem.index.pieces); missing ones are made anew.
CREATE TABLE record_pieces (id INTEGER PRIMARY KEY REFERENCES record ON DELETE CASCADE, codes BLOB NOT NULL);
CREATE TRIGGER record_pieces_stale AFTER UPDATE OF text ON record WHEN new.text != old.text BEGIN
    DELETE FROM record_pieces WHERE id = old.id;
END;
"""

STEPS: tuple[str, ...] = (
    *FIRST_STEPS,
    _VECTORS,
    _LIFE,
    _SEGMENTATIONS,
    _CONTENTS,
    _SUMMARIES,
    _AREAS,
    _NOTES,
    _NEW,
    _PIECES,
)
"""Step i leads from version i to version i + 1."""

VERSION = len(STEPS)


def migrate(db: sqlite3.Connection, steps: tuple[str, ...] = STEPS) -> None:
    """Run the steps that the file lacks, all in one transaction."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version >= len(steps):
        return
    script = "".join(steps[version:])
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {len(steps)};"
    db.executescript(f"BEGIN IMMEDIATE; {script} {marks} COMMIT;")
