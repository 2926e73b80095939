-- Profiles: what devices of one type show to be provisioned. The key is looked up over all tenants, the secret compared.

CREATE TABLE device_profile (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenant (id),
  name TEXT NOT NULL,
  strategy TEXT NOT NULL CHECK (strategy IN ('disabled', 'create', 'check')),
  provision_key TEXT NOT NULL UNIQUE,
  secret_hash TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (tenant_id, name)
) STRICT, WITHOUT ROWID;
