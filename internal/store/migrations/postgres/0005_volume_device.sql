-- A volume is on one device or none, so its device is a column of it; the
-- attachment's generation was the volume's all the while.
-- +goose Up
ALTER TABLE volume ADD COLUMN device_id bigint REFERENCES device (id);
UPDATE volume SET device_id = a.device_id FROM attachment a WHERE a.volume_id = volume.id;
DROP TABLE attachment;
CREATE INDEX volume_device ON volume (device_id) WHERE device_id IS NOT NULL;
