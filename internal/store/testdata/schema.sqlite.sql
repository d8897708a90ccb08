CREATE TABLE api_key (
    id           INTEGER PRIMARY KEY,
    client_id    INTEGER REFERENCES client (id),
    name         TEXT NOT NULL,
    prefix       TEXT NOT NULL UNIQUE,
    hash         BLOB NOT NULL,
    permissions  TEXT NOT NULL,
    allowed      TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT;
CREATE INDEX api_key_client ON api_key (client_id, id);
CREATE TABLE charge (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    service_id   INTEGER NOT NULL REFERENCES service (id),
    client_id    INTEGER NOT NULL,
    volume_id    TEXT NOT NULL,
    kind         TEXT NOT NULL,
    amount_cents INTEGER NOT NULL,
    from_at      INTEGER NOT NULL,
    to_at        INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    task_id      TEXT NOT NULL,
    text         TEXT NOT NULL
) STRICT;
CREATE INDEX charge_client ON charge (client_id, id);
CREATE UNIQUE INDEX charge_month ON charge (service_id, from_at) WHERE kind IN ('create', 'renew');
CREATE INDEX charge_service ON charge (service_id, id);
CREATE TRIGGER charge_no_delete BEFORE DELETE ON charge
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER charge_no_update BEFORE UPDATE ON charge
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TABLE client (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    parent_id  INTEGER REFERENCES client (id),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX client_parent ON client (parent_id) WHERE parent_id IS NOT NULL;
CREATE TABLE client_quota (
    client_id INTEGER NOT NULL PRIMARY KEY REFERENCES client (id),
    volumes   INTEGER CHECK (volumes >= 0),
    gib       INTEGER CHECK (gib >= 0),
    isos      INTEGER CHECK (isos >= 0),
    iso_bytes INTEGER CHECK (iso_bytes >= 0)
) STRICT;
CREATE TABLE device (
    id             INTEGER PRIMARY KEY,
    client_id      INTEGER NOT NULL REFERENCES client (id),
    facility_code  TEXT NOT NULL REFERENCES facility (code),
    hostname       TEXT NOT NULL,
    status         TEXT NOT NULL,
    vcpu           INTEGER NOT NULL,
    memory_mb      INTEGER NOT NULL,
    max_volumes    INTEGER NOT NULL,
    ref            TEXT NOT NULL,
    iso_id         TEXT REFERENCES iso (id),
    iso_generation INTEGER NOT NULL DEFAULT 0,
    created_at     INTEGER NOT NULL, boot_stage TEXT NOT NULL DEFAULT '', boot_starts TEXT NOT NULL DEFAULT '', boot_at INTEGER,
    UNIQUE (facility_code, ref)
) STRICT;
CREATE INDEX device_boot ON device (facility_code, id) WHERE boot_stage <> '';
CREATE INDEX device_client ON device (client_id, id);
CREATE INDEX device_iso ON device (iso_id) WHERE iso_id IS NOT NULL;
CREATE TABLE event (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    id        TEXT NOT NULL,
    at        INTEGER NOT NULL,
    client_id INTEGER NOT NULL,
    device_id INTEGER,
    volume_id TEXT,
    iso_id    TEXT,
    task_id   TEXT,
    type      TEXT NOT NULL,
    level     TEXT NOT NULL,
    state     TEXT NOT NULL,
    text      TEXT NOT NULL
) STRICT;
CREATE INDEX event_device ON event (device_id, seq) WHERE device_id IS NOT NULL;
CREATE TABLE facility (
    id      INTEGER PRIMARY KEY,
    code    TEXT NOT NULL UNIQUE,
    title   TEXT NOT NULL,
    city    TEXT NOT NULL,
    state   TEXT NOT NULL,
    country TEXT NOT NULL,
    storage TEXT -- the folder its disks are in, where several servers could have one
) STRICT;
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
CREATE INDEX finding_closed ON finding (closed_at) WHERE closed_at IS NOT NULL;
CREATE UNIQUE INDEX finding_open ON finding (facility_code, class, object_id) WHERE closed_at IS NULL;
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
CREATE TABLE iso (
    id            TEXT PRIMARY KEY,
    client_id     INTEGER NOT NULL REFERENCES client (id),
    facility_code TEXT NOT NULL REFERENCES facility (code),
    name          TEXT NOT NULL,
    description   TEXT NOT NULL,
    url           TEXT NOT NULL,
    checksum      TEXT NOT NULL,
    bootable      INTEGER NOT NULL,
    state         TEXT NOT NULL,
    before_state  TEXT NOT NULL,
    done_bytes    INTEGER NOT NULL,
    size_bytes    INTEGER NOT NULL,
    sha256        TEXT,
    label         TEXT NOT NULL,
    bios          INTEGER NOT NULL,
    uefi          INTEGER NOT NULL,
    reason        TEXT NOT NULL,
    error         TEXT NOT NULL,
    task_id       TEXT NOT NULL,
    created_at    INTEGER NOT NULL
, upload TEXT NOT NULL DEFAULT '', upload_writer TEXT NOT NULL DEFAULT '', upload_until INTEGER NOT NULL DEFAULT 0, upload_at INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE INDEX iso_client ON iso (client_id, state, sha256, size_bytes, done_bytes);
CREATE INDEX iso_content_share ON iso (sha256, facility_code) WHERE sha256 IS NOT NULL;
CREATE INDEX iso_place ON iso (facility_code, client_id, created_at, id);
CREATE INDEX iso_upload ON iso (upload, id) WHERE upload <> '';
CREATE INDEX iso_upload_writer ON iso (upload_writer) WHERE upload_writer <> '';
CREATE TABLE iso_content (
    facility_code TEXT NOT NULL REFERENCES facility (code),
    sha256        TEXT NOT NULL,
    bytes         INTEGER NOT NULL,
    state         TEXT NOT NULL,
    remover       TEXT NOT NULL,
    PRIMARY KEY (facility_code, sha256)
) STRICT, WITHOUT ROWID;
CREATE TABLE node (
    name       TEXT PRIMARY KEY,
    instance   TEXT NOT NULL,
    boot       TEXT NOT NULL,
    role       TEXT NOT NULL,
    facilities TEXT NOT NULL,
    version    TEXT NOT NULL,
    url        TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE price (
    facility_code TEXT NOT NULL REFERENCES facility (code),
    size_gib      INTEGER NOT NULL,
    monthly_cents INTEGER NOT NULL CHECK (monthly_cents >= 0),
    product_id    INTEGER NOT NULL,
    PRIMARY KEY (facility_code, size_gib)
) STRICT, WITHOUT ROWID;
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
CREATE TABLE service (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    client_id     INTEGER NOT NULL REFERENCES client (id),
    volume_id     TEXT NOT NULL,
    facility_code TEXT NOT NULL,
    device_id     INTEGER,
    size_gib      INTEGER NOT NULL,
    product_id    INTEGER NOT NULL,
    monthly_cents INTEGER NOT NULL,
    status        TEXT NOT NULL,
    started_at    INTEGER NOT NULL,
    period_start  INTEGER NOT NULL,
    period_end    INTEGER NOT NULL,
    periods       INTEGER NOT NULL,
    cancelled_at  INTEGER
) STRICT;
CREATE INDEX service_client ON service (client_id, id);
CREATE INDEX service_due ON service (period_end) WHERE status = 'active';
CREATE UNIQUE INDEX service_open ON service (volume_id) WHERE status = 'active';
CREATE TABLE task (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,
    lane        TEXT NOT NULL,
    queue       TEXT NOT NULL,
    state       TEXT NOT NULL,
    client_id   INTEGER,
    device_id   INTEGER,
    volume_id   TEXT,
    iso_id      TEXT,
    facility_code TEXT NOT NULL,
    args        TEXT NOT NULL CHECK (json_valid(args)),
    attempt     INTEGER NOT NULL DEFAULT 0,
    failures    INTEGER NOT NULL DEFAULT 0,
    owner       TEXT,
    lease_until INTEGER,
    run_at      INTEGER NOT NULL,
    progress    INTEGER NOT NULL DEFAULT 0,
    message     TEXT NOT NULL DEFAULT '',
    checkpoint  BLOB,
    cancel      INTEGER NOT NULL DEFAULT 0,
    reason      TEXT NOT NULL DEFAULT '',
    error       TEXT NOT NULL DEFAULT '',
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    started_at  INTEGER
) STRICT;
CREATE INDEX task_client ON task (client_id, seq) WHERE client_id IS NOT NULL;
CREATE INDEX task_device ON task (device_id, seq) WHERE device_id IS NOT NULL;
CREATE UNIQUE INDEX task_head ON task (lane) WHERE state IN ('ready', 'running');
CREATE INDEX task_iso ON task (iso_id, seq) WHERE iso_id IS NOT NULL AND state IN ('waiting', 'ready', 'running');
CREATE INDEX task_lane ON task (lane, seq) WHERE state IN ('waiting', 'ready', 'running');
CREATE INDEX task_ready ON task (queue, run_at, seq) WHERE state = 'ready';
CREATE INDEX task_ready_at ON task (facility_code, queue, run_at, seq) WHERE state = 'ready';
CREATE INDEX task_resize ON task (client_id, seq) WHERE kind = 'volume.resize' AND state IN ('waiting', 'ready', 'running');
CREATE INDEX task_running ON task (owner, lease_until) WHERE state = 'running';
CREATE INDEX task_volume ON task (volume_id, seq) WHERE volume_id IS NOT NULL AND state IN ('waiting', 'ready', 'running');
CREATE TABLE task_after (
    seq       INTEGER NOT NULL REFERENCES task (seq),
    after_seq INTEGER NOT NULL REFERENCES task (seq),
    PRIMARY KEY (seq, after_seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_after_other ON task_after (after_seq);
CREATE TABLE volume (
    id            TEXT PRIMARY KEY,
    client_id     INTEGER NOT NULL REFERENCES client (id),
    facility_code TEXT NOT NULL REFERENCES facility (code),
    type          TEXT NOT NULL,
    state         TEXT NOT NULL,
    bytes         INTEGER NOT NULL CHECK (bytes > 0),
    product_id    INTEGER NOT NULL,
    monthly_cents INTEGER NOT NULL,
    generation    INTEGER NOT NULL DEFAULT 0,
    created_at    INTEGER NOT NULL
, device_id INTEGER REFERENCES device (id), source TEXT) STRICT, WITHOUT ROWID;
CREATE INDEX volume_client ON volume (client_id, type, state, bytes);
CREATE INDEX volume_device ON volume (device_id, type, id, client_id, facility_code, state, bytes, product_id, monthly_cents, generation, created_at)
    WHERE device_id IS NOT NULL;
CREATE INDEX volume_discarded ON volume (facility_code, created_at, id) WHERE state = 'discarded';
CREATE INDEX volume_place ON volume (facility_code, client_id, created_at, id);
CREATE UNIQUE INDEX volume_source ON volume (facility_code, source) WHERE source IS NOT NULL;
