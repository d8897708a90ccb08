-- A volume that was somebody's disk before keeps the name it has on its host;
-- the others are named by their id.
-- +goose Up
ALTER TABLE volume ADD COLUMN source text;
CREATE UNIQUE INDEX volume_source ON volume (facility_code, source) WHERE source IS NOT NULL;
