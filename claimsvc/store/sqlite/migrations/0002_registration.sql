-- The requests of new devices: an operator announces a device, it polls, is accepted, and gets its login.

CREATE TABLE device_request (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenant (id),
  status TEXT NOT NULL
    CHECK (status IN ('WAITING_FOR_CONNECTION', 'PENDING_ACCEPTANCE', 'ACCEPTED', 'BLOCKED')),
  owner TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  group_id TEXT,
  type TEXT,
  properties TEXT,
  lane TEXT,
  token_hash TEXT,
  token_failures INTEGER NOT NULL,
  contested INTEGER NOT NULL CHECK (contested IN (0, 1)),
  enrollment_hash TEXT,
  enrollment_until INTEGER,
  issued_at INTEGER
) STRICT, WITHOUT ROWID;

-- Listings are in order of creation. A listing of one status reads only the rows of that status.
CREATE INDEX device_request_tenant ON device_request (tenant_id, created_at, id);
CREATE INDEX device_request_status ON device_request (tenant_id, status, created_at, id);

