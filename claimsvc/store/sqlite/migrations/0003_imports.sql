-- Groups of devices, and files of rows that are imported slice by slice.

-- A path is the names of the groups above and its own, separated by slashes. Each of these groups has a row.
CREATE TABLE device_group (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenant (id),
  path TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (tenant_id, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE device_group_member (
  group_id TEXT NOT NULL REFERENCES device_group (id) ON DELETE CASCADE,
  device_id TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  PRIMARY KEY (group_id, device_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX device_group_member_device ON device_group_member (device_id);

-- The progress of a file that is being imported, so that the service can continue it after a crash.
CREATE TABLE import (
  lane TEXT NOT NULL,
  request_id TEXT NOT NULL,
  digest TEXT NOT NULL,
  done INTEGER NOT NULL,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  touched_at INTEGER NOT NULL,
  PRIMARY KEY (lane, request_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE import_part (
  lane TEXT NOT NULL,
  request_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  sealed TEXT NOT NULL,
  PRIMARY KEY (lane, request_id, number),
  FOREIGN KEY (lane, request_id) REFERENCES import (lane, request_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
