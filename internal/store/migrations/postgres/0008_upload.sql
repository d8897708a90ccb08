-- An ISO that is uploaded: the folder its bytes grow in ('' is none), who writes them until when, and
-- when the last ones came.
-- +goose Up
ALTER TABLE iso ADD COLUMN upload text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE iso ADD COLUMN upload_writer text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE iso ADD COLUMN upload_until bigint NOT NULL DEFAULT 0;
ALTER TABLE iso ADD COLUMN upload_at bigint NOT NULL DEFAULT 0;
CREATE INDEX iso_upload ON iso (upload, id) WHERE upload <> '';
CREATE INDEX iso_upload_writer ON iso (upload_writer) WHERE upload_writer <> '';
