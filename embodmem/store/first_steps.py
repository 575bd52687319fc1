"""The first nine steps of `schema`: records, places, objects, facts and skills. None is ever edited."""

from __future__ import annotations

_RECORDS = """
CREATE TABLE record (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,                 -- object, room, keyframe, event, fact, item
    subkind TEXT NOT NULL DEFAULT '',   -- an event's own kind (pick, told, ...)
    agent TEXT NOT NULL DEFAULT '',
    label TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '',
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    x REAL, y REAL, z REAL,             -- position in the world, metres; NULL where it has no place
    x0 REAL, y0 REAL, z0 REAL, x1 REAL, y1 REAL, z1 REAL,
    live INTEGER NOT NULL DEFAULT 1,    -- 0: kept for the history, never an answer
    embedding BLOB,                     -- float32, unit norm, of the encoder named in `state`
    data TEXT NOT NULL DEFAULT '{}'     -- JSON: what its kind adds
);
CREATE INDEX record_time ON record (kind, first_ns, last_ns);
CREATE TABLE record_tag (tag TEXT NOT NULL, id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE,
    PRIMARY KEY (tag, id)) WITHOUT ROWID;
CREATE INDEX record_tag_id ON record_tag (id);
-- id rests on ref; a link goes with either end, so that evidence never points at what was forgotten.
CREATE TABLE record_link (id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE,
    ref INTEGER NOT NULL REFERENCES record ON DELETE CASCADE, PRIMARY KEY (id, ref)) WITHOUT ROWID;
CREATE INDEX record_link_ref ON record_link (ref);

CREATE VIRTUAL TABLE record_box USING rtree (id, x0, x1, y0, y1, z0, z1);
CREATE VIRTUAL TABLE record_words USING fts5 (label, text, content='record', content_rowid='id',
    tokenize='porter unicode61 remove_diacritics 2');
-- Triggers keep the place and word indexes in the transaction of every change to a record.
CREATE TRIGGER record_insert AFTER INSERT ON record BEGIN
    INSERT INTO record_words (rowid, label, text) VALUES (new.id, new.label, new.text);
END;
CREATE TRIGGER record_insert_box AFTER INSERT ON record WHEN new.x0 IS NOT NULL BEGIN
    INSERT INTO record_box VALUES (new.id, new.x0, new.x1, new.y0, new.y1, new.z0, new.z1);
END;
CREATE TRIGGER record_delete AFTER DELETE ON record BEGIN
    INSERT INTO record_words (record_words, rowid, label, text) VALUES ('delete', old.id, old.label, old.text);
    DELETE FROM record_box WHERE id = old.id;
END;
CREATE TRIGGER record_update_words AFTER UPDATE OF label, text ON record
WHEN old.label IS NOT new.label OR old.text IS NOT new.text BEGIN
    INSERT INTO record_words (record_words, rowid, label, text) VALUES ('delete', old.id, old.label, old.text);
    INSERT INTO record_words (rowid, label, text) VALUES (new.id, new.label, new.text);
END;
CREATE TRIGGER record_update_box AFTER UPDATE OF x0, x1, y0, y1, z0, z1 ON record BEGIN
    DELETE FROM record_box WHERE id = old.id;
    INSERT INTO record_box SELECT new.id, new.x0, new.x1, new.y0, new.y1, new.z0, new.z1 WHERE new.x0 IS NOT NULL;
END;
"""

_STATE = """
CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;   -- JSON
CREATE TABLE stamp (owner TEXT NOT NULL, agent TEXT NOT NULL, ns INTEGER NOT NULL,
    PRIMARY KEY (owner, agent)) WITHOUT ROWID;                                   -- newest stamp written
"""

_VIEWS = """
CREATE TABLE keyframe (
    id INTEGER PRIMARY KEY REFERENCES record ON DELETE CASCADE,
    T_world_camera BLOB NOT NULL,       -- (4, 4) float64
    image BLOB                          -- JPEG; NULL where the sensor gave no colour
);
CREATE TABLE object (id INTEGER PRIMARY KEY REFERENCES record ON DELETE CASCADE,
    content TEXT NOT NULL);             -- JSON: the statistics that place it
CREATE TABLE brick (key INTEGER PRIMARY KEY, last_seen_ns INTEGER NOT NULL, log_odds BLOB NOT NULL);
"""

_FACTS = """
CREATE TABLE fact (
    id INTEGER PRIMARY KEY REFERENCES record ON DELETE CASCADE,
    subject TEXT NOT NULL, relation TEXT NOT NULL, object TEXT NOT NULL,
    valid_from_ns INTEGER NOT NULL, valid_until_ns INTEGER,     -- in the world; NULL: still
    known_from_ns INTEGER NOT NULL, known_until_ns INTEGER,     -- in the memory; NULL: still believed
    confidence REAL NOT NULL
);
CREATE INDEX fact_subject ON fact (subject, relation, known_until_ns, valid_until_ns);
CREATE INDEX fact_object ON fact (object);
"""

_SURFACES = """
CREATE TABLE keyframe_surface (
    id INTEGER PRIMARY KEY REFERENCES record ON DELETE CASCADE,
    digest INTEGER NOT NULL,            -- CRC-32 of pose and leaves: tells whoever holds them of a change
    leaves BLOB NOT NULL                -- the surface elements that the keyframe saw
);
CREATE TABLE keyframe_depth (
    id INTEGER PRIMARY KEY REFERENCES record ON DELETE CASCADE,
    camera TEXT NOT NULL,               -- JSON: its intrinsics
    depth BLOB NOT NULL                 -- PNG of uint16 millimetres, 0 = no return
);
CREATE TABLE payload (
    number INTEGER PRIMARY KEY AUTOINCREMENT,           -- in the order of writing
    depth INTEGER, key INTEGER,                         -- the octree node that it belongs to, or
    record INTEGER REFERENCES record ON DELETE CASCADE, -- the landmark
    stamp_ns INTEGER NOT NULL,
    vector BLOB NOT NULL,
    CHECK ((key IS NULL) <> (record IS NULL) AND (key IS NULL) = (depth IS NULL))
);
CREATE INDEX payload_node ON payload (depth, key) WHERE key IS NOT NULL;
CREATE INDEX payload_record ON payload (record) WHERE record IS NOT NULL;
CREATE TABLE codebook (name TEXT PRIMARY KEY, content BLOB NOT NULL);
"""

_LAYERS = """
-- When a brick was taken out of the map to make room, ns; NULL: it is in the map.
ALTER TABLE brick ADD COLUMN spilled_ns INTEGER;
CREATE TABLE transient (key INTEGER PRIMARY KEY, born BLOB NOT NULL);  -- when each voxel of a brick appeared, ns
"""

_SOURCES = """
ALTER TABLE record ADD COLUMN source TEXT NOT NULL DEFAULT '';      -- who says so
UPDATE record SET source = ifnull(json_extract(data, '$.source'), '') WHERE kind = 'event';
CREATE INDEX record_source ON record (source) WHERE source != '';
-- What is kept apart, with live = 0, until someone vouches for it.
CREATE TABLE quarantine (id INTEGER PRIMARY KEY REFERENCES record ON DELETE CASCADE,
    since_ns INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE trust (source TEXT PRIMARY KEY, good REAL NOT NULL, bad REAL NOT NULL) WITHOUT ROWID;
"""

_SKILLS = """
-- Terms of the state before an experience, as digests: what is alike is found without reading the experiences.
CREATE TABLE experience_term (term INTEGER NOT NULL, id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE,
    size INTEGER NOT NULL,              -- how many terms its state has
    PRIMARY KEY (term, id)) WITHOUT ROWID;
CREATE INDEX experience_term_id ON experience_term (id);
CREATE TABLE case_value (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE,
    terms BLOB NOT NULL,                -- task and state in which it was used, as digests: (N,) int64, sorted
    q REAL NOT NULL, n INTEGER NOT NULL -- mean reward there, and of how many uses
);
CREATE INDEX case_value_id ON case_value (id);
CREATE TABLE skill_use (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE,
    experience INTEGER REFERENCES record ON DELETE SET NULL,
    success INTEGER NOT NULL, stamp_ns INTEGER NOT NULL,
    UNIQUE (id, experience)
);
CREATE INDEX skill_use_experience ON skill_use (experience);
CREATE TABLE skill_change (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE,
    version INTEGER NOT NULL, stamp_ns INTEGER NOT NULL, what TEXT NOT NULL, why TEXT NOT NULL,
    content TEXT                        -- JSON: the script after the change; NULL: forgotten with what it came from
);
CREATE INDEX skill_change_id ON skill_change (id);
"""

_CLAIMS = """
ALTER TABLE fact ADD COLUMN place TEXT NOT NULL DEFAULT '';   -- where that was
CREATE TABLE fact_claim (           -- what facts are decided from
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    told INTEGER,                   -- its place in the order of telling; NULL: its id
    subject TEXT NOT NULL, relation TEXT NOT NULL,
    object TEXT NOT NULL,           -- '': an ending, whatever the object
    holds INTEGER NOT NULL,         -- 1: it held, 0: it ended
    is_open INTEGER NOT NULL,       -- 1: and that goes on
    valid_from_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL,   -- the time it speaks of itself, both ends included
    known_ns INTEGER NOT NULL,      -- when it was learnt
    confidence REAL NOT NULL, source TEXT NOT NULL,
    data TEXT NOT NULL              -- JSON: place, names, text, position, evidence
);
CREATE INDEX fact_claim_relation ON fact_claim (subject, relation, last_ns);
CREATE INDEX fact_claim_object ON fact_claim (subject, relation, object, last_ns);
CREATE INDEX fact_valid ON fact (valid_from_ns) WHERE known_until_ns IS NULL;
-- Rows of `fact` are deleted by forgetting alone; what they were decided from goes with them.
CREATE TRIGGER fact_forget AFTER DELETE ON fact BEGIN
    DELETE FROM fact_claim WHERE subject = old.subject AND relation = old.relation AND object = old.object
        AND valid_from_ns < ifnull(old.valid_until_ns, 9223372036854775807) AND last_ns >= old.valid_from_ns
        AND NOT EXISTS (SELECT 1 FROM fact f WHERE f.subject = old.subject AND f.relation = old.relation
            AND f.object = old.object AND f.known_until_ns IS NULL
            AND f.valid_from_ns <= fact_claim.last_ns AND ifnull(f.valid_until_ns > fact_claim.valid_from_ns, 1));
    DELETE FROM fact_claim WHERE subject = old.subject AND NOT EXISTS (SELECT 1 FROM fact WHERE subject = old.subject);
END;
"""

FACTS_AS_CLAIMS = """
INSERT INTO fact_claim
    (subject, relation, object, holds, is_open, valid_from_ns, last_ns, known_ns, confidence, source, data)
SELECT f.subject, f.relation, f.object, 1, f.valid_until_ns IS NULL, f.valid_from_ns,
    ifnull(f.valid_until_ns - 1, f.valid_from_ns), f.known_from_ns, f.confidence, r.source, json_object('text', r.text)
FROM fact f JOIN record r ON r.id = f.id WHERE f.known_until_ns IS NULL ORDER BY f.id;
"""
"""What was believed before claims were kept stands for the claims that led to it."""

_CONTEXT = """
-- Items that left the context of working memory: where each can be read, and what that record does not tell.
CREATE TABLE working_spilled (
    item INTEGER PRIMARY KEY,
    id INTEGER NOT NULL REFERENCES record ON DELETE CASCADE,
    reason TEXT NOT NULL, holder INTEGER,   -- the item that stands for it, a summary
    content TEXT NOT NULL
);
CREATE INDEX working_spilled_id ON working_spilled (id);
CREATE INDEX working_spilled_holder ON working_spilled (holder) WHERE holder IS NOT NULL;
CREATE TABLE working_edit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    stamp_ns INTEGER NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL, action TEXT NOT NULL,
    made INTEGER, undone INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE working_edit_item (edit INTEGER NOT NULL REFERENCES working_edit ON DELETE CASCADE, item INTEGER NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL, PRIMARY KEY (edit, item)) WITHOUT ROWID;
CREATE INDEX working_edit_item_item ON working_edit_item (item);
-- What was said about an item goes with it, when it is forgotten: not when it moves out of the context, or back.
CREATE TRIGGER working_item_gone AFTER DELETE ON record
WHEN old.kind = 'item' AND NOT EXISTS (SELECT 1 FROM working_spilled WHERE item = old.id) BEGIN
    DELETE FROM working_edit WHERE number IN (SELECT edit FROM working_edit_item WHERE item = old.id);
END;
CREATE TRIGGER working_spilled_gone AFTER DELETE ON working_spilled
WHEN NOT EXISTS (SELECT 1 FROM record WHERE id = old.item AND kind = 'item') BEGIN
    DELETE FROM working_edit WHERE number IN (SELECT edit FROM working_edit_item WHERE item = old.item);
END;
"""

FIRST_STEPS = (
    _RECORDS + _STATE,
    _VIEWS,
    _FACTS,
    _SURFACES,
    _LAYERS,
    _SOURCES,
    _SKILLS,
    _CLAIMS + FACTS_AS_CLAIMS,
    _CONTEXT,
)
