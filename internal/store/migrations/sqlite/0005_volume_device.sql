-- A volume is on one device or none, so its device is a column of it; the
-- attachment's generation was the volume's all the while.
-- +goose Up
ALTER TABLE volume ADD COLUMN device_id INTEGER REFERENCES device (id);
UPDATE volume SET device_id = (SELECT a.device_id FROM attachment a WHERE a.volume_id = volume.id);
DROP TABLE attachment;
-- A device's list is answered from this index alone.
CREATE INDEX volume_device ON volume (device_id, type, id, client_id, facility_code, state, bytes, product_id, monthly_cents, generation, created_at)
    WHERE device_id IS NOT NULL;
