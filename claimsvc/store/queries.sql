-- Every statement the service runs, by name. A parameter `:rows` or `:keys` is one JSON array for the whole
-- batch: one statement per kind of row, whatever the batch's size.

-- name: principals
-- Names of principals -> their rows.
SELECT p.name, p.kind, p.tenant_id
FROM json_each(:keys) AS k JOIN principal AS p ON p.name = k.value;

-- name: ended_principals
SELECT e.name, e.ended_at FROM json_each(:keys) AS k JOIN ended_principal AS e ON e.name = k.value;

-- name: devices_by_principal
-- Names of principals -> the devices that log in with them.
SELECT d.id, d.tenant_id, d.name, d.principal, d.created_at, d.owner, d.gateway_id, d.is_gateway, d.type,
       d.label, d.claimed_at, d.claimed_with
FROM json_each(:keys) AS k JOIN device AS d ON d.principal = k.value;

-- name: devices_by_name
-- [tenant, name] -> devices.
SELECT d.id, d.tenant_id, d.name, d.principal, d.created_at, d.owner, d.gateway_id, d.is_gateway, d.type,
       d.label, d.claimed_at, d.claimed_with
FROM json_each(:keys) AS k JOIN device AS d ON d.tenant_id = k.value ->> 0 AND d.name = k.value ->> 1;

-- name: devices_by_id
-- Ids -> devices.
SELECT d.id, d.tenant_id, d.name, d.principal, d.created_at, d.owner, d.gateway_id, d.is_gateway, d.type,
       d.label, d.claimed_at, d.claimed_with
FROM json_each(:keys) AS k JOIN device AS d ON d.id = k.value;

-- name: services
-- Every principal of the service's own.
SELECT name, kind, tenant_id FROM principal WHERE kind = 'service';

-- name: users
-- Principals -> users with the names of their roles and groups as JSON arrays.
SELECT u.principal, u.tenant_id, u.username, u.customer_id,
       (SELECT json_group_array(r.role) FROM user_role AS r WHERE r.principal = u.principal),
       (SELECT json_group_array(m.user_group) FROM user_group_member AS m WHERE m.principal = u.principal),
       u.created_at
FROM json_each(:keys) AS k JOIN user AS u ON u.principal = k.value;

-- name: groups
-- [tenant, name] -> groups with the names of their roles as a JSON array.
SELECT g.tenant_id, g.name,
       (SELECT json_group_array(r.role) FROM user_group_role AS r
        WHERE r.tenant_id = g.tenant_id AND r.user_group = g.name)
FROM json_each(:keys) AS k JOIN user_group AS g ON g.tenant_id = k.value ->> 0 AND g.name = k.value ->> 1;

-- name: roles
-- [tenant, name] -> roles with their permissions as a JSON array.
SELECT r.tenant_id, r.name,
       (SELECT json_group_array(p.permission) FROM role_permission AS p
        WHERE p.tenant_id = r.tenant_id AND p.role = r.name)
FROM json_each(:keys) AS k JOIN role AS r ON r.tenant_id = k.value ->> 0 AND r.name = k.value ->> 1;

-- name: tenants
-- Ids -> tenants.
SELECT t.id, t.title, t.created_at FROM json_each(:keys) AS k JOIN tenant AS t ON t.id = k.value;

-- name: customers
-- Ids -> customers, and whether users or devices belong to them.
SELECT c.id, c.tenant_id, c.title, c.created_at,
       EXISTS (SELECT 1 FROM user AS u WHERE u.customer_id = c.id)
       OR EXISTS (SELECT 1 FROM device AS d WHERE d.owner = c.id)
FROM json_each(:keys) AS k JOIN customer AS c ON c.id = k.value;

-- name: windows
-- Ids of devices -> their claim windows.
SELECT w.device_id, w.source, w.key_hash, w.opened_at, w.expires_at, w.attempts
FROM json_each(:keys) AS k JOIN claim_window AS w ON w.device_id = k.value;

-- name: profiles_by_key
-- Provision keys -> device profiles.
SELECT p.id, p.tenant_id, p.name, p.strategy, p.provision_key, p.secret_hash, p.created_at
FROM json_each(:keys) AS k JOIN device_profile AS p ON p.provision_key = k.value;

-- name: profiles_by_name
-- [tenant, name] -> device profiles.
SELECT p.id, p.tenant_id, p.name, p.strategy, p.provision_key, p.secret_hash, p.created_at
FROM json_each(:keys) AS k JOIN device_profile AS p ON p.tenant_id = k.value ->> 0 AND p.name = k.value ->> 1;

-- name: profiles_by_id
-- Ids -> device profiles.
SELECT p.id, p.tenant_id, p.name, p.strategy, p.provision_key, p.secret_hash, p.created_at
FROM json_each(:keys) AS k JOIN device_profile AS p ON p.id = k.value;

-- name: attributes
-- Ids of devices -> their attributes.
SELECT a.device_id, a.name, a.value, a.updated_at
FROM json_each(:keys) AS k JOIN attribute AS a ON a.device_id = k.value;

-- name: attributes_named
-- [device id, name] -> attributes.
SELECT a.device_id, a.name, a.value, a.updated_at
FROM json_each(:keys) AS k JOIN attribute AS a ON a.device_id = k.value ->> 0 AND a.name = k.value ->> 1;

-- name: attempts
-- [principal, device id] -> failures there.
SELECT a.principal, a.device_id, a.count, a.lockouts, a.locked_until, a.last_failed_at
FROM json_each(:keys) AS k
JOIN claim_attempt AS a ON a.principal = k.value ->> 0 AND a.device_id = k.value ->> 1;

-- name: failures
-- Principals -> recent failures over all devices.
SELECT f.principal, f.recent, f.lockouts, f.locked_until
FROM json_each(:keys) AS k JOIN user_failure AS f ON f.principal = k.value;

-- name: credentials_by_login
-- Logins -> credentials.
SELECT c.login, c.principal, c.kind, c.secret_hash, c.sealed, c.sealed_until, c.created_at, c.revoked_at
FROM json_each(:keys) AS k JOIN credential AS c ON c.login = k.value;

-- name: credentials_by_principal
-- Principals -> credentials.
SELECT c.login, c.principal, c.kind, c.secret_hash, c.sealed, c.sealed_until, c.created_at, c.revoked_at
FROM json_each(:keys) AS k JOIN credential AS c ON c.principal = k.value;

-- name: former_credentials
-- Logins -> the passwords they had before.
SELECT f.login, f.secret_hash, f.until
FROM json_each(:keys) AS k JOIN former_credential AS f ON f.login = k.value;

-- name: requests
-- Device ids -> requests.
SELECT r.id, r.tenant_id, r.status, r.owner, r.created_at, r.group_id, r.type, r.properties, r.lane, r.token_hash,
       r.token_failures, r.contested, r.enrollment_hash, r.enrollment_until, r.issued_at
FROM json_each(:keys) AS k JOIN device_request AS r ON r.id = k.value;

-- name: pending_requests
-- Tenants -> requests that wait for acceptance: the oldest thousand, those last that will need a token.
SELECT r.id, r.tenant_id, r.status, r.owner, r.created_at, r.group_id, r.type, r.properties, r.lane, r.token_hash,
       r.token_failures, r.contested, r.enrollment_hash, r.enrollment_until, r.issued_at
FROM json_each(:keys) AS k JOIN device_request AS r ON r.tenant_id = k.value AND r.status = 'PENDING_ACCEPTANCE'
ORDER BY r.contested OR r.token_hash IS NOT NULL, r.created_at, r.id LIMIT 1000;

-- name: device_groups_by_path
-- [tenant, path] -> groups of devices.
SELECT g.id, g.tenant_id, g.path, g.created_at
FROM json_each(:keys) AS k JOIN device_group AS g ON g.tenant_id = k.value ->> 0 AND g.path = k.value ->> 1;

-- name: device_groups_by_id
-- Ids -> groups of devices.
SELECT g.id, g.tenant_id, g.path, g.created_at
FROM json_each(:keys) AS k JOIN device_group AS g ON g.id = k.value;

-- name: import
-- How far a file is worked through.
SELECT lane, request_id, digest, done, created, updated, failed, touched_at
FROM import WHERE lane = :lane AND request_id = :request_id;

-- name: import_parts
-- What the slices of a file came to, in its order.
SELECT sealed FROM import_part WHERE lane = :lane AND request_id = :request_id ORDER BY number;

-- name: device_counts
-- Tenants -> how many devices they have.
SELECT k.value, (SELECT count(*) FROM device AS d WHERE d.tenant_id = k.value) FROM json_each(:keys) AS k;

-- name: answered
-- [lane, request id] -> first answers.
SELECT a.lane, a.request_id, a.digest, a.sealed, a.expires_at
FROM json_each(:keys) AS k JOIN answered AS a ON a.lane = k.value ->> 0 AND a.request_id = k.value ->> 1;

-- name: put_tenant
INSERT INTO tenant (id, title, created_at)
SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(:rows) WHERE true
ON CONFLICT (id) DO UPDATE SET title = excluded.title;

-- name: put_principal
INSERT INTO principal (name, kind, tenant_id)
SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(:rows);

-- name: put_ended_principal
INSERT INTO ended_principal (name, ended_at)
SELECT value ->> 0, value ->> 1 FROM json_each(:rows) WHERE true
ON CONFLICT (name) DO UPDATE SET ended_at = excluded.ended_at;

-- name: put_customer
INSERT INTO customer (id, tenant_id, title, created_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:rows) WHERE true
ON CONFLICT (id) DO UPDATE SET title = excluded.title;

-- name: put_role
INSERT INTO role (tenant_id, name)
SELECT value ->> 0, value ->> 1 FROM json_each(:rows) WHERE true ON CONFLICT DO NOTHING;

-- name: clear_role_permissions
DELETE FROM role_permission
WHERE (tenant_id, role) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:rows));

-- name: put_role_permissions
INSERT INTO role_permission (tenant_id, role, permission)
SELECT r.value ->> 0, r.value ->> 1, p.value
FROM json_each(:rows) AS r, json_each(r.value ->> 2) AS p WHERE true ON CONFLICT DO NOTHING;

-- name: put_group
INSERT INTO user_group (tenant_id, name)
SELECT value ->> 0, value ->> 1 FROM json_each(:rows) WHERE true ON CONFLICT DO NOTHING;

-- name: clear_group_roles
DELETE FROM user_group_role
WHERE (tenant_id, user_group) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:rows));

-- name: put_group_roles
INSERT INTO user_group_role (tenant_id, user_group, role)
SELECT g.value ->> 0, g.value ->> 1, r.value
FROM json_each(:rows) AS g, json_each(g.value ->> 2) AS r WHERE true ON CONFLICT DO NOTHING;

-- name: put_user
INSERT INTO user (principal, tenant_id, username, customer_id, created_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 6 FROM json_each(:rows) WHERE true
ON CONFLICT (principal) DO UPDATE SET customer_id = excluded.customer_id;

-- name: clear_user_roles
DELETE FROM user_role WHERE principal IN (SELECT value ->> 0 FROM json_each(:rows));

-- name: put_user_roles
INSERT INTO user_role (principal, role)
SELECT u.value ->> 0, r.value
FROM json_each(:rows) AS u, json_each(u.value ->> 4) AS r WHERE true ON CONFLICT DO NOTHING;

-- name: clear_user_groups
DELETE FROM user_group_member WHERE principal IN (SELECT value ->> 0 FROM json_each(:rows));

-- name: put_user_groups
INSERT INTO user_group_member (principal, user_group)
SELECT u.value ->> 0, g.value
FROM json_each(:rows) AS u, json_each(u.value ->> 5) AS g WHERE true ON CONFLICT DO NOTHING;

-- name: put_device
INSERT INTO device (id, tenant_id, name, principal, created_at, owner, gateway_id, is_gateway, type, label,
                    claimed_at, claimed_with)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
       value ->> 8, value ->> 9, value ->> 10, value ->> 11
FROM json_each(:rows) WHERE true
ON CONFLICT (id) DO UPDATE SET
  principal = excluded.principal, owner = excluded.owner, gateway_id = excluded.gateway_id,
  is_gateway = excluded.is_gateway, type = excluded.type, label = excluded.label,
  claimed_at = excluded.claimed_at, claimed_with = excluded.claimed_with;

-- name: put_window
INSERT INTO claim_window (device_id, source, key_hash, opened_at, expires_at, attempts)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
FROM json_each(:rows) WHERE true
ON CONFLICT (device_id, source) DO UPDATE SET
  key_hash = excluded.key_hash, opened_at = excluded.opened_at, expires_at = excluded.expires_at,
  attempts = excluded.attempts;

-- name: put_attribute
INSERT INTO attribute (device_id, name, value, updated_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:rows) WHERE true
ON CONFLICT (device_id, name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at;

-- name: put_attempts
INSERT INTO claim_attempt (principal, device_id, count, lockouts, locked_until, last_failed_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
FROM json_each(:rows) WHERE true
ON CONFLICT (principal, device_id) DO UPDATE SET
  count = excluded.count, lockouts = excluded.lockouts, locked_until = excluded.locked_until,
  last_failed_at = excluded.last_failed_at;

-- name: put_failures
INSERT INTO user_failure (principal, recent, lockouts, locked_until)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:rows) WHERE true
ON CONFLICT (principal) DO UPDATE SET
  recent = excluded.recent, lockouts = excluded.lockouts, locked_until = excluded.locked_until;

-- name: put_credential
INSERT INTO credential (login, principal, kind, secret_hash, sealed, sealed_until, created_at, revoked_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
FROM json_each(:rows) WHERE true
ON CONFLICT (login) DO UPDATE SET
  kind = excluded.kind, secret_hash = excluded.secret_hash, sealed = excluded.sealed,
  sealed_until = excluded.sealed_until, created_at = excluded.created_at, revoked_at = excluded.revoked_at;

-- name: clear_ended_principals
-- A login that stands makes its principal valid again.
DELETE FROM ended_principal WHERE name IN (
  SELECT value ->> 1 FROM json_each(:rows) WHERE value ->> 7 IS NULL);

-- name: put_profile
INSERT INTO device_profile (id, tenant_id, name, strategy, provision_key, secret_hash, created_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each(:rows) WHERE true
ON CONFLICT (id) DO UPDATE SET
  strategy = excluded.strategy, provision_key = excluded.provision_key, secret_hash = excluded.secret_hash;

-- name: remove_profile
DELETE FROM device_profile WHERE id IN (SELECT value FROM json_each(:keys));

-- name: put_former_credential
INSERT INTO former_credential (login, secret_hash, until)
SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(:rows) WHERE true
ON CONFLICT (login, secret_hash) DO UPDATE SET until = excluded.until;

-- name: put_request
INSERT INTO device_request (id, tenant_id, status, owner, created_at, group_id, type, properties, lane, token_hash,
                            token_failures, contested, enrollment_hash, enrollment_until, issued_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
       value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14
FROM json_each(:rows) WHERE true
ON CONFLICT (id) DO UPDATE SET
  -- One that was deleted and made again within a batch is another's.
  tenant_id = excluded.tenant_id, owner = excluded.owner, created_at = excluded.created_at,
  group_id = excluded.group_id, type = excluded.type, properties = excluded.properties,
  status = excluded.status, lane = excluded.lane, token_hash = excluded.token_hash,
  token_failures = excluded.token_failures, contested = excluded.contested,
  enrollment_hash = excluded.enrollment_hash, enrollment_until = excluded.enrollment_until,
  issued_at = excluded.issued_at;

-- name: remove_request
DELETE FROM device_request WHERE id IN (SELECT value FROM json_each(:keys));

-- name: put_device_group
INSERT INTO device_group (id, tenant_id, path, created_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:rows);

-- name: put_device_group_member
INSERT INTO device_group_member (group_id, device_id)
SELECT value ->> 0, value ->> 1 FROM json_each(:rows) WHERE true ON CONFLICT DO NOTHING;

-- name: put_import
INSERT INTO import (lane, request_id, digest, done, created, updated, failed, touched_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
FROM json_each(:rows) WHERE true
ON CONFLICT (lane, request_id) DO UPDATE SET
  done = excluded.done, created = excluded.created, updated = excluded.updated, failed = excluded.failed,
  touched_at = excluded.touched_at;

-- name: put_import_part
INSERT INTO import_part (lane, request_id, number, sealed)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:rows);

-- name: remove_import
-- Its parts go with it.
DELETE FROM import WHERE (lane, request_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:keys));

-- name: put_answered
-- A request id used again after its time gets a new number, so that numbers stay in order of expiry.
REPLACE INTO answered (lane, request_id, digest, sealed, expires_at)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(:rows);

-- name: append_events
INSERT INTO event (tenant_id, at, event, principal, device_id, device, detail)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each(:rows);

-- name: remove_device
DELETE FROM device WHERE id IN (SELECT value FROM json_each(:keys));

-- name: remove_window
DELETE FROM claim_window
WHERE (device_id, source) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:keys));

-- name: remove_attribute
DELETE FROM attribute WHERE (device_id, name) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:keys));

-- name: remove_attempts
DELETE FROM claim_attempt
WHERE (principal, device_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:keys));

-- name: remove_customer
DELETE FROM customer WHERE id IN (SELECT value FROM json_each(:keys));

-- name: remove_user
DELETE FROM user WHERE principal IN (SELECT value FROM json_each(:keys));

-- name: remove_credential
DELETE FROM credential WHERE login IN (SELECT value FROM json_each(:keys));

-- name: remove_former_credential
DELETE FROM former_credential
WHERE (login, secret_hash) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:keys));

-- name: remove_principal
DELETE FROM principal WHERE name IN (SELECT value FROM json_each(:keys));

-- name: list_tenants
SELECT id, title, created_at FROM tenant WHERE id > :after ORDER BY id LIMIT :limit;

-- name: list_customers
SELECT id, tenant_id, title, created_at FROM customer
WHERE tenant_id = :tenant AND id > :after ORDER BY id LIMIT :limit;

-- name: list_users
SELECT u.principal, u.tenant_id, u.username, u.customer_id,
       (SELECT json_group_array(r.role) FROM user_role AS r WHERE r.principal = u.principal),
       (SELECT json_group_array(m.user_group) FROM user_group_member AS m WHERE m.principal = u.principal),
       u.created_at
FROM user AS u WHERE u.tenant_id = :tenant AND u.username > :after ORDER BY u.username LIMIT :limit;

-- name: list_groups
SELECT g.tenant_id, g.name,
       (SELECT json_group_array(r.role) FROM user_group_role AS r
        WHERE r.tenant_id = g.tenant_id AND r.user_group = g.name)
FROM user_group AS g WHERE g.tenant_id = :tenant AND g.name > :after ORDER BY g.name LIMIT :limit;

-- name: list_roles
SELECT r.tenant_id, r.name,
       (SELECT json_group_array(p.permission) FROM role_permission AS p
        WHERE p.tenant_id = r.tenant_id AND p.role = r.name)
FROM role AS r WHERE r.tenant_id = :tenant AND r.name > :after ORDER BY r.name LIMIT :limit;

-- name: list_gateways
SELECT d.id, d.tenant_id, d.name, d.principal, d.created_at, d.owner, d.gateway_id, d.is_gateway, d.type,
       d.label, d.claimed_at, d.claimed_with
FROM device AS d WHERE d.tenant_id = :tenant AND d.is_gateway = 1 AND d.name > :after
ORDER BY d.name LIMIT :limit;

-- name: list_devices
-- In order of names, from the one behind `after` to the last that begins with `prefix`.
SELECT d.id, d.tenant_id, d.name, d.principal, d.created_at, d.owner, d.gateway_id, d.is_gateway, d.type,
       d.label, d.claimed_at, d.claimed_with
FROM device AS d
WHERE d.tenant_id = :tenant AND d.name >= max(:after, :prefix) AND d.name < :end AND d.name <> :after
ORDER BY d.name LIMIT :limit;

-- name: list_group_devices
-- The same of one group.
SELECT d.id, d.tenant_id, d.name, d.principal, d.created_at, d.owner, d.gateway_id, d.is_gateway, d.type,
       d.label, d.claimed_at, d.claimed_with
FROM device_group_member AS m JOIN device AS d ON d.id = m.device_id
WHERE m.group_id = :group AND d.tenant_id = :tenant
  AND d.name >= max(:after, :prefix) AND d.name < :end AND d.name <> :after
ORDER BY d.name LIMIT :limit;

-- name: list_device_groups
SELECT id, tenant_id, path, created_at FROM device_group
WHERE tenant_id = :tenant AND path > :after ORDER BY path LIMIT :limit;

-- name: list_requests
SELECT r.id, r.tenant_id, r.status, r.owner, r.created_at, r.group_id, r.type, r.properties, r.lane, r.token_hash,
       r.token_failures, r.contested, r.enrollment_hash, r.enrollment_until, r.issued_at
FROM device_request AS r WHERE r.tenant_id = :tenant
ORDER BY r.created_at, r.id LIMIT :limit OFFSET :offset;

-- name: list_requests_of_status
SELECT r.id, r.tenant_id, r.status, r.owner, r.created_at, r.group_id, r.type, r.properties, r.lane, r.token_hash,
       r.token_failures, r.contested, r.enrollment_hash, r.enrollment_until, r.issued_at
FROM device_request AS r WHERE r.tenant_id = :tenant AND r.status = :status
ORDER BY r.created_at, r.id LIMIT :limit OFFSET :offset;

-- name: count_requests
SELECT count(*) FROM device_request WHERE tenant_id = :tenant AND status = coalesce(:status, status);

-- name: list_profiles
SELECT id, tenant_id, name, strategy, provision_key, secret_hash, created_at FROM device_profile
WHERE tenant_id = :tenant ORDER BY name LIMIT :limit OFFSET :offset;

-- name: count_profiles
SELECT count(*) FROM device_profile WHERE tenant_id = :tenant;

-- name: list_events
-- Newest first; `after` is the number of the last one seen.
SELECT tenant_id, at, event, principal, device_id, device, detail, number
FROM event
WHERE tenant_id = :tenant AND number < :after ORDER BY number DESC LIMIT :limit;

-- name: list_device_events
SELECT tenant_id, at, event, principal, device_id, device, detail, number
FROM event
WHERE tenant_id = :tenant AND device = :device AND number < :after
ORDER BY number DESC LIMIT :limit;

-- name: device_attempts
-- The failures of users at one device, the latest first.
SELECT principal, device_id, count, lockouts, locked_until, last_failed_at
FROM claim_attempt WHERE device_id = :device ORDER BY last_failed_at DESC LIMIT :limit;

-- name: events_of_kind
-- Newest first, of one device; one of the same name before it is another.
SELECT tenant_id, at, event, principal, device_id, device, detail, number
FROM event
WHERE tenant_id = :tenant AND device = :device AND device_id = :id
  AND event IN (SELECT value FROM json_each(:kinds))
ORDER BY number DESC LIMIT :limit;

-- name: password_logins
-- Logins the broker may admit by password, in the order of the file, each with the one hash that is in effect: a
-- former one until its time.
SELECT c.login, coalesce(
  (SELECT f.secret_hash FROM former_credential AS f WHERE f.login = c.login AND f.until > :now
   ORDER BY f.until DESC LIMIT 1), c.secret_hash)
FROM credential AS c WHERE c.kind = 'password' AND c.revoked_at IS NULL ORDER BY c.login;

-- name: next_login_change
-- When `password_logins` is another one next without a change of any row, or NULL.
SELECT min(until) FROM former_credential WHERE until > :now;

-- name: census
-- What is worth watching, at a time. Requests are counted along the index of their state, for which the tenants must
-- come first; windows and failures have no index on time, which every request would pay for: their tables are walked.
SELECT
  (SELECT count(*) FROM claim_window WHERE expires_at >= :now) AS windows_open,
  (SELECT count(*) FROM tenant AS t CROSS JOIN device_request AS r
   ON r.tenant_id = t.id AND r.status = 'WAITING_FOR_CONNECTION') AS requests_waiting,
  (SELECT count(*) FROM tenant AS t CROSS JOIN device_request AS r
   ON r.tenant_id = t.id AND r.status = 'PENDING_ACCEPTANCE') AS requests_pending,
  (SELECT count(*) FROM claim_attempt WHERE locked_until > :now)
  + (SELECT count(*) FROM user_failure WHERE locked_until > :now) AS lockouts;

-- name: sweep_answered
-- Forget expired first answers, oldest first, a slice at a time.
DELETE FROM answered WHERE number IN (
  SELECT number FROM answered ORDER BY number LIMIT :slice) AND expires_at < :now;

-- name: cut_answered
-- Let the oldest first answers end at a time, at the latest.
UPDATE answered SET expires_at = :until WHERE number IN (
  SELECT number FROM answered ORDER BY number LIMIT :slice) AND expires_at > :until;

-- name: cut_sealed
-- Let logins be given again until a time, at the latest.
UPDATE credential SET sealed_until = :until WHERE login IN (
  SELECT login FROM credential WHERE sealed IS NOT NULL AND sealed_until > :until LIMIT :slice);

-- name: sweep_sealed
-- Forget what may not be given again.
UPDATE credential SET sealed = NULL WHERE login IN (
  SELECT login FROM credential WHERE sealed IS NOT NULL AND sealed_until < :now LIMIT :slice);

-- name: sweep_imports
-- Forget files whose sender never came back for the rest.
DELETE FROM import WHERE touched_at < :before;

-- name: sweep_former_credentials
-- Forget passwords that were replaced, once they are over.
DELETE FROM former_credential WHERE (login, secret_hash) IN (
  SELECT login, secret_hash FROM former_credential WHERE until <= :now LIMIT :slice);

-- name: sweep_tokens
-- Forget access tokens that are over. A revoked password's row stays: it keeps the login's name.
DELETE FROM credential WHERE login IN (
  SELECT login FROM credential WHERE kind = 'access_token' AND revoked_at <= :now LIMIT :slice);

-- name: sweep_events
-- Forget audit events past their keeping time, oldest first, a slice at a time.
DELETE FROM event WHERE number IN (SELECT number FROM event ORDER BY number LIMIT :slice) AND at < :before;

-- name: window_slice_end
-- The last device of the next slice of windows.
SELECT max(device_id) FROM (
  SELECT device_id FROM claim_window WHERE device_id > :after ORDER BY device_id LIMIT :slice);

-- name: sweep_windows
-- Forget windows long over, between two devices.
DELETE FROM claim_window WHERE device_id > :after AND device_id <= :until AND expires_at < :before;

-- name: service_value
SELECT value FROM service WHERE name = :name;

-- name: put_service_value
INSERT INTO service (name, value) VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;
