-- Device profiles, with the key and the secret that provision the devices of one type. The key is unique over all
-- tenants; the secret is only compared.

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
