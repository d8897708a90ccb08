-- What the reconciler found, and what it put into quarantine.
-- +goose Up
CREATE TABLE finding (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    class         TEXT NOT NULL,
    facility_code TEXT NOT NULL,
    object_id     TEXT NOT NULL,
    detail        TEXT NOT NULL,
    first_seen    INTEGER NOT NULL,
    last_seen     INTEGER NOT NULL,
    looks         INTEGER NOT NULL,
    confirmed     INTEGER NOT NULL,
    closed_at     INTEGER
) STRICT;
-- One open finding of a class about an object.
CREATE UNIQUE INDEX finding_open ON finding (facility_code, class, object_id) WHERE closed_at IS NULL;
CREATE INDEX finding_closed ON finding (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE quarantine (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    facility_code  TEXT NOT NULL REFERENCES facility (code),
    kind           TEXT NOT NULL,
    object_id      TEXT NOT NULL,
    bytes          INTEGER NOT NULL,
    first_seen     INTEGER NOT NULL,
    quarantined_at INTEGER NOT NULL,
    UNIQUE (facility_code, kind, object_id)
) STRICT;
