-- +goose Up
-- Requests that named themselves, to be answered again when they are sent
-- again. A row comes with the effect of its request, its answer after that.
CREATE TABLE idempotency_key (
    scope        BIGINT NOT NULL,
    key          TEXT NOT NULL,
    request_id   TEXT NOT NULL,
    fingerprint  BYTEA NOT NULL,
    result       TEXT NOT NULL,
    status       BIGINT,
    content_type TEXT,
    body         BYTEA,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_key_age ON idempotency_key (created_at, scope, key);
