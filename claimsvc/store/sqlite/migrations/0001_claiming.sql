-- Tenants with their customers, users, roles and groups; devices with windows and attributes; logins; audit.
-- Times are epoch milliseconds UTC. Ids are UUIDs that sort by time, so new rows come last in the b-trees.

CREATE TABLE service (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant (
  id TEXT PRIMARY KEY,
  title TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The identities of clients on the broker, unique over all kinds and tenants.
CREATE TABLE principal (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('device', 'user', 'service')),
  tenant_id TEXT NOT NULL REFERENCES tenant (id)
) STRICT, WITHOUT ROWID;

CREATE INDEX principal_service ON principal (name) WHERE kind = 'service';

CREATE TABLE customer (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenant (id),
  title TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX customer_tenant ON customer (tenant_id, id);

CREATE TABLE role (
  tenant_id TEXT NOT NULL REFERENCES tenant (id),
  name TEXT NOT NULL,
  PRIMARY KEY (tenant_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE role_permission (
  tenant_id TEXT NOT NULL,
  role TEXT NOT NULL,
  permission TEXT NOT NULL,
  PRIMARY KEY (tenant_id, role, permission),
  FOREIGN KEY (tenant_id, role) REFERENCES role (tenant_id, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE user_group (
  tenant_id TEXT NOT NULL REFERENCES tenant (id),
  name TEXT NOT NULL,
  PRIMARY KEY (tenant_id, name)
) STRICT, WITHOUT ROWID;

-- Here and below a role is a name without a reference, because built-in roles have no row.
CREATE TABLE user_group_role (
  tenant_id TEXT NOT NULL,
  user_group TEXT NOT NULL,
  role TEXT NOT NULL,
  PRIMARY KEY (tenant_id, user_group, role),
  FOREIGN KEY (tenant_id, user_group) REFERENCES user_group (tenant_id, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE user (
  principal TEXT PRIMARY KEY REFERENCES principal (name),
  tenant_id TEXT NOT NULL REFERENCES tenant (id),
  username TEXT NOT NULL,
  customer_id TEXT REFERENCES customer (id),
  created_at INTEGER NOT NULL,
  UNIQUE (tenant_id, username)
) STRICT, WITHOUT ROWID;

CREATE INDEX user_customer ON user (customer_id) WHERE customer_id IS NOT NULL;

CREATE TABLE user_role (
  principal TEXT NOT NULL REFERENCES user (principal) ON DELETE CASCADE,
  role TEXT NOT NULL,
  PRIMARY KEY (principal, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE user_group_member (
  principal TEXT NOT NULL REFERENCES user (principal) ON DELETE CASCADE,
  user_group TEXT NOT NULL,
  PRIMARY KEY (principal, user_group)
) STRICT, WITHOUT ROWID;

CREATE TABLE device (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenant (id),
  name TEXT NOT NULL,
  principal TEXT UNIQUE REFERENCES principal (name),
  owner TEXT REFERENCES customer (id),
  gateway_id TEXT REFERENCES device (id) ON DELETE SET NULL,
  is_gateway INTEGER NOT NULL DEFAULT 0 CHECK (is_gateway IN (0, 1)),
  type TEXT NOT NULL,
  label TEXT,
  created_at INTEGER NOT NULL,
  claimed_at INTEGER,
  claimed_with TEXT,
  UNIQUE (tenant_id, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX device_owner ON device (owner) WHERE owner IS NOT NULL;
CREATE INDEX device_gateway ON device (gateway_id) WHERE gateway_id IS NOT NULL;
CREATE INDEX gateway ON device (tenant_id, name) WHERE is_gateway = 1;

CREATE TABLE claim_window (
  device_id TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  source TEXT NOT NULL CHECK (source IN ('device', 'server')),
  key_hash TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (device_id, source)
) STRICT, WITHOUT ROWID;

CREATE TABLE attribute (
  device_id TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (device_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE claim_attempt (
  principal TEXT NOT NULL REFERENCES user (principal) ON DELETE CASCADE,
  device_id TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  count INTEGER NOT NULL,
  lockouts INTEGER NOT NULL,
  locked_until INTEGER NOT NULL,
  last_failed_at INTEGER NOT NULL,
  PRIMARY KEY (principal, device_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX claim_attempt_device ON claim_attempt (device_id);

CREATE TABLE user_failure (
  principal TEXT PRIMARY KEY REFERENCES user (principal) ON DELETE CASCADE,
  recent TEXT NOT NULL,
  lockouts INTEGER NOT NULL,
  locked_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE credential (
  login TEXT PRIMARY KEY,
  principal TEXT NOT NULL REFERENCES principal (name),
  kind TEXT NOT NULL CHECK (kind IN ('password', 'access_token')),
  secret_hash TEXT NOT NULL,
  sealed TEXT,
  sealed_until INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX credential_principal ON credential (principal);
CREATE INDEX credential_sealed ON credential (sealed_until) WHERE sealed IS NOT NULL;

-- Numbers are in order of time, so a listing uses them to page backwards.
CREATE TABLE event (
  number INTEGER PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  at INTEGER NOT NULL,
  event TEXT NOT NULL,
  principal TEXT NOT NULL,
  device_id TEXT,
  device TEXT,
  detail TEXT
) STRICT;

CREATE INDEX event_tenant ON event (tenant_id, number);
CREATE INDEX event_device ON event (tenant_id, device, number) WHERE device IS NOT NULL;

-- Rows are created and expire in order of their number, in which the service deletes them.
CREATE TABLE answered (
  number INTEGER PRIMARY KEY,
  lane TEXT NOT NULL,
  request_id TEXT NOT NULL,
  digest TEXT NOT NULL,
  sealed TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  UNIQUE (lane, request_id)
) STRICT;
