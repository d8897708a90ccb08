-- +goose Up
-- What a client may have at most; NULL is no bound, no row is none at all.
CREATE TABLE client_quota (
    client_id INTEGER NOT NULL PRIMARY KEY REFERENCES client (id),
    volumes   INTEGER CHECK (volumes >= 0),
    gib       INTEGER CHECK (gib >= 0),
    isos      INTEGER CHECK (isos >= 0),
    iso_bytes INTEGER CHECK (iso_bytes >= 0)
) STRICT;
-- For counting what a client has, from these indexes alone.
CREATE INDEX volume_client ON volume (client_id, type, state, bytes);
CREATE INDEX iso_client ON iso (client_id, state, sha256, size_bytes, done_bytes);
CREATE INDEX task_resize ON task (client_id, seq) WHERE kind = 'volume.resize' AND state IN ('waiting', 'ready', 'running');
