-- Creates the store of a service with :devices devices, created at a rate of eight per millisecond, the last one now.
-- Each has a principal, an open window and the event of its creation. Ids are UUIDs of version 7 in order of creation.
-- All belong to the tenant :tenant. The caller must register the function `claim_key_hash`.

-- name: devices
INSERT INTO device (id, tenant_id, name, principal, type, created_at)
WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < :devices),
made (n, at, chance) AS MATERIALIZED (SELECT n, :now - (:devices - n) / 8, lower(hex(randomblob(9))) FROM number)
SELECT printf('%s-%s-7%s-a%s-%s', substr(printf('%012x', at), 1, 8), substr(printf('%012x', at), 9), substr(chance, 1, 3),
              substr(chance, 4, 3), substr(chance, 7, 12)),
       :tenant, 'dev' || n, 'dev' || n, 'default', at
FROM made;

-- name: principals
INSERT INTO principal (name, kind, tenant_id)
SELECT principal, 'device', tenant_id FROM device WHERE name GLOB 'dev[0-9]*' ORDER BY principal;

-- name: windows
INSERT INTO claim_window (device_id, source, key_hash, opened_at, expires_at)
SELECT id, 'device', claim_key_hash('value' || substr(name, 4)), created_at, :now + 86400000
FROM device WHERE name GLOB 'dev[0-9]*' ORDER BY id;

-- name: events
INSERT INTO event (tenant_id, at, event, principal, device_id, device)
SELECT tenant_id, created_at, 'device_created', principal, id, name
FROM device WHERE name GLOB 'dev[0-9]*' ORDER BY id;

-- name: reopen
-- Open the windows of claimed devices again.
INSERT OR REPLACE INTO claim_window (device_id, source, key_hash, opened_at, expires_at)
SELECT id, 'device', claimed_with, created_at, :now + 86400000 FROM device WHERE owner IS NOT NULL;

-- name: release
-- Release the devices from their owners.
UPDATE device SET owner = NULL, claimed_at = NULL, claimed_with = NULL WHERE owner IS NOT NULL;
