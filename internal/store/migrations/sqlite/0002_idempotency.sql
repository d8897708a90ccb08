-- +goose Up
-- Requests that named themselves, to be answered again when they are sent
-- again. A row comes with the effect of its request, its answer after that.
CREATE TABLE idempotency_key (
    scope        INTEGER NOT NULL,
    key          TEXT NOT NULL,
    request_id   TEXT NOT NULL,
    fingerprint  BLOB NOT NULL,
    result       TEXT NOT NULL,
    status       INTEGER,
    content_type TEXT,
    body         BLOB,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_key_age ON idempotency_key (created_at, scope, key);
