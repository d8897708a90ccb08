-- How far an ISO has come that its device is to start from once: the stage ('' is
-- none), the guest's last start by then, and when a reset brought the stage about.
-- +goose Up
ALTER TABLE device ADD COLUMN boot_stage text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE device ADD COLUMN boot_starts text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE device ADD COLUMN boot_at bigint;
CREATE INDEX device_boot ON device (facility_code, id) WHERE boot_stage <> '';
