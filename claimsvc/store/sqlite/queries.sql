-- The named statements of the service. Inserts, updates and deletes by key are built from the tables of `mapping.py`.
-- A parameter `:rows` or `:keys` is one JSON array for the whole batch, so a batch of any size needs one statement for
-- each kind of row. `{d:device}` is replaced by the columns of that table with its alias.

-- name: principals
-- Names of principals -> their rows.
SELECT {p:principal}
FROM json_each(:keys) AS k JOIN principal AS p ON p.name = k.value;

-- name: ended_principals
-- Names -> principals whose logins have ended.
SELECT {e:ended_principal}
FROM json_each(:keys) AS k JOIN ended_principal AS e ON e.name = k.value;

-- name: devices_by_principal
-- Names of principals -> the devices that log in with them.
SELECT {d:device}
FROM json_each(:keys) AS k JOIN device AS d ON d.principal = k.value;

-- name: devices_by_name
-- [tenant, name] -> devices.
SELECT {d:device}
FROM json_each(:keys) AS k JOIN device AS d ON d.tenant_id = k.value ->> 0 AND d.name = k.value ->> 1;

-- name: devices_by_id
-- Ids -> devices.
SELECT {d:device}
FROM json_each(:keys) AS k JOIN device AS d ON d.id = k.value;

-- name: services
-- The principals of the service itself.
SELECT {principal} FROM principal WHERE kind = 'service';

-- name: users
-- Principals -> users with the names of their roles and groups as JSON arrays.
SELECT {u:user}
FROM json_each(:keys) AS k JOIN user AS u ON u.principal = k.value;

-- name: groups
-- [tenant, name] -> groups with the names of their roles as a JSON array.
SELECT {g:user_group}
FROM json_each(:keys) AS k JOIN user_group AS g ON g.tenant_id = k.value ->> 0 AND g.name = k.value ->> 1;

-- name: roles
-- [tenant, name] -> roles with their permissions as a JSON array.
SELECT {r:role}
FROM json_each(:keys) AS k JOIN role AS r ON r.tenant_id = k.value ->> 0 AND r.name = k.value ->> 1;

-- name: tenants
-- Ids -> tenants.
SELECT {t:tenant} FROM json_each(:keys) AS k JOIN tenant AS t ON t.id = k.value;

-- name: customers
-- Ids -> customers, and 1 if they have users or devices.
SELECT {c:customer},
       EXISTS (SELECT 1 FROM user AS u WHERE u.customer_id = c.id)
       OR EXISTS (SELECT 1 FROM device AS d WHERE d.owner = c.id)
FROM json_each(:keys) AS k JOIN customer AS c ON c.id = k.value;

-- name: windows
-- Ids of devices -> their claim windows.
SELECT {w:claim_window}
FROM json_each(:keys) AS k JOIN claim_window AS w ON w.device_id = k.value;

-- name: profiles_by_key
-- Provision keys -> device profiles.
SELECT {p:device_profile}
FROM json_each(:keys) AS k JOIN device_profile AS p ON p.provision_key = k.value;

-- name: profiles_by_name
-- [tenant, name] -> device profiles.
SELECT {p:device_profile}
FROM json_each(:keys) AS k JOIN device_profile AS p ON p.tenant_id = k.value ->> 0 AND p.name = k.value ->> 1;

-- name: profiles_by_id
-- Ids -> device profiles.
SELECT {p:device_profile}
FROM json_each(:keys) AS k JOIN device_profile AS p ON p.id = k.value;

-- name: attributes
-- Ids of devices -> their attributes.
SELECT {a:attribute}
FROM json_each(:keys) AS k JOIN attribute AS a ON a.device_id = k.value;

-- name: attributes_named
-- [device id, name] -> attributes.
SELECT {a:attribute}
FROM json_each(:keys) AS k JOIN attribute AS a ON a.device_id = k.value ->> 0 AND a.name = k.value ->> 1;

-- name: attempts
-- [principal, device id] -> failures there.
SELECT {a:claim_attempt}
FROM json_each(:keys) AS k
JOIN claim_attempt AS a ON a.principal = k.value ->> 0 AND a.device_id = k.value ->> 1;

-- name: failures
-- Principals -> recent failures over all devices.
SELECT {f:user_failure}
FROM json_each(:keys) AS k JOIN user_failure AS f ON f.principal = k.value;

-- name: credentials_by_login
-- Logins -> credentials.
SELECT {c:credential}
FROM json_each(:keys) AS k JOIN credential AS c ON c.login = k.value;

-- name: credentials_by_principal
-- Principals -> credentials.
SELECT {c:credential}
FROM json_each(:keys) AS k JOIN credential AS c ON c.principal = k.value;

-- name: former_credentials
-- Logins -> their former passwords.
SELECT {f:former_credential}
FROM json_each(:keys) AS k JOIN former_credential AS f ON f.login = k.value;

-- name: requests
-- Device ids -> requests.
SELECT {r:device_request}
FROM json_each(:keys) AS k JOIN device_request AS r ON r.id = k.value;

-- name: pending_requests
-- Tenants -> pending requests, at most a thousand: those without a token first, then the oldest first.
SELECT {r:device_request}
FROM json_each(:keys) AS k JOIN device_request AS r ON r.tenant_id = k.value AND r.status = 'PENDING_ACCEPTANCE'
ORDER BY r.contested OR r.token_hash IS NOT NULL, r.created_at, r.id LIMIT 1000;

-- name: device_groups_by_path
-- [tenant, path] -> groups of devices.
SELECT {g:device_group}
FROM json_each(:keys) AS k JOIN device_group AS g ON g.tenant_id = k.value ->> 0 AND g.path = k.value ->> 1;

-- name: device_groups_by_id
-- Ids -> groups of devices.
SELECT {g:device_group}
FROM json_each(:keys) AS k JOIN device_group AS g ON g.id = k.value;

-- name: import
-- The progress of a file.
SELECT {import}
FROM import WHERE lane = :lane AND request_id = :request_id;

-- name: import_parts
-- The results of a file's slices, in the order of its rows.
SELECT sealed FROM import_part WHERE lane = :lane AND request_id = :request_id ORDER BY number;

-- name: device_counts
-- Tenants -> the number of their devices.
SELECT k.value, (SELECT count(*) FROM device AS d WHERE d.tenant_id = k.value) FROM json_each(:keys) AS k;

-- name: answered
-- [lane, request id] -> first answers.
SELECT {a:answered}
FROM json_each(:keys) AS k JOIN answered AS a ON a.lane = k.value ->> 0 AND a.request_id = k.value ->> 1;

-- name: clear_ended_principals
-- A new valid login makes its principal valid again.
DELETE FROM ended_principal WHERE name IN (
  SELECT value ->> 1 FROM json_each(:rows) WHERE value ->> 7 IS NULL);

-- name: clear_role_permissions
DELETE FROM role_permission
WHERE (tenant_id, role) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:rows));

-- name: put_role_permissions
INSERT INTO role_permission (tenant_id, role, permission)
SELECT r.value ->> 0, r.value ->> 1, p.value
FROM json_each(:rows) AS r, json_each(r.value ->> 2) AS p WHERE true ON CONFLICT DO NOTHING;

-- name: clear_group_roles
DELETE FROM user_group_role
WHERE (tenant_id, user_group) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:rows));

-- name: put_group_roles
INSERT INTO user_group_role (tenant_id, user_group, role)
SELECT g.value ->> 0, g.value ->> 1, r.value
FROM json_each(:rows) AS g, json_each(g.value ->> 2) AS r WHERE true ON CONFLICT DO NOTHING;

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

-- name: list_tenants
SELECT {tenant} FROM tenant WHERE id > :after ORDER BY id LIMIT :limit;

-- name: list_customers
SELECT {customer} FROM customer
WHERE tenant_id = :tenant AND id > :after ORDER BY id LIMIT :limit;

-- name: list_users
SELECT {u:user}
FROM user AS u WHERE u.tenant_id = :tenant AND u.username > :after ORDER BY u.username LIMIT :limit;

-- name: list_groups
SELECT {g:user_group}
FROM user_group AS g WHERE g.tenant_id = :tenant AND g.name > :after ORDER BY g.name LIMIT :limit;

-- name: list_roles
SELECT {r:role}
FROM role AS r WHERE r.tenant_id = :tenant AND r.name > :after ORDER BY r.name LIMIT :limit;

-- name: list_gateways
SELECT {d:device}
FROM device AS d WHERE d.tenant_id = :tenant AND d.is_gateway = 1 AND d.name > :after
ORDER BY d.name LIMIT :limit;

-- name: list_devices
-- In order of names: those after `after` that begin with `prefix`.
SELECT {d:device}
FROM device AS d
WHERE d.tenant_id = :tenant AND d.name >= max(:after, :prefix) AND d.name < :end AND d.name <> :after
ORDER BY d.name LIMIT :limit;

-- name: list_group_devices
-- The same for one group.
SELECT {d:device}
FROM device_group_member AS m JOIN device AS d ON d.id = m.device_id
WHERE m.group_id = :group AND d.tenant_id = :tenant
  AND d.name >= max(:after, :prefix) AND d.name < :end AND d.name <> :after
ORDER BY d.name LIMIT :limit;

-- name: list_device_groups
SELECT {device_group} FROM device_group
WHERE tenant_id = :tenant AND path > :after ORDER BY path LIMIT :limit;

-- name: list_requests
SELECT {r:device_request}
FROM device_request AS r WHERE r.tenant_id = :tenant
ORDER BY r.created_at, r.id LIMIT :limit OFFSET :offset;

-- name: list_requests_of_status
SELECT {r:device_request}
FROM device_request AS r WHERE r.tenant_id = :tenant AND r.status = :status
ORDER BY r.created_at, r.id LIMIT :limit OFFSET :offset;

-- name: count_requests
SELECT count(*) FROM device_request WHERE tenant_id = :tenant AND status = coalesce(:status, status);

-- name: list_profiles
SELECT {device_profile} FROM device_profile
WHERE tenant_id = :tenant ORDER BY name LIMIT :limit OFFSET :offset;

-- name: count_profiles
SELECT count(*) FROM device_profile WHERE tenant_id = :tenant;

-- name: list_events
-- Newest first. `after` is the number of the last event of the previous page.
SELECT {event}, number
FROM event
WHERE tenant_id = :tenant AND number < :after ORDER BY number DESC LIMIT :limit;

-- name: list_device_events
SELECT {event}, number
FROM event
WHERE tenant_id = :tenant AND device = :device AND number < :after
ORDER BY number DESC LIMIT :limit;

-- name: device_attempts
-- The failed claims of one device, latest first.
SELECT {claim_attempt}
FROM claim_attempt WHERE device_id = :device ORDER BY last_failed_at DESC LIMIT :limit;

-- name: events_of_kind
-- The events of one device, newest first, without those of an earlier device of the same name.
SELECT {event}, number
FROM event
WHERE tenant_id = :tenant AND device = :device AND device_id = :id
  AND event IN (SELECT value FROM json_each(:kinds))
ORDER BY number DESC LIMIT :limit;

-- name: password_logins
-- The logins that the broker may admit by password, in the order of the password file, each with the one hash that is
-- valid now: a former password until its end.
SELECT c.login, coalesce(
  (SELECT f.secret_hash FROM former_credential AS f WHERE f.login = c.login AND f.until > :now
   ORDER BY f.until DESC LIMIT 1), c.secret_hash)
FROM credential AS c WHERE c.kind = 'password' AND c.revoked_at IS NULL ORDER BY c.login;

-- name: next_login_change
-- The time at which the result of `password_logins` changes although no row changes, or NULL.
SELECT min(until) FROM former_credential WHERE until > :now;

-- name: census
-- The counts for monitoring. Requests are counted with the index of their state, so the tenants must come first. Windows
-- and failures have no index on time, because it would slow down every request: their tables are scanned.
SELECT
  (SELECT count(*) FROM claim_window WHERE expires_at >= :now) AS windows_open,
  (SELECT count(*) FROM tenant AS t CROSS JOIN device_request AS r
   ON r.tenant_id = t.id AND r.status = 'WAITING_FOR_CONNECTION') AS requests_waiting,
  (SELECT count(*) FROM tenant AS t CROSS JOIN device_request AS r
   ON r.tenant_id = t.id AND r.status = 'PENDING_ACCEPTANCE') AS requests_pending,
  (SELECT count(*) FROM claim_attempt WHERE locked_until > :now)
  + (SELECT count(*) FROM user_failure WHERE locked_until > :now) AS lockouts;

-- name: cut_answered
-- Let the oldest first answers expire at `until` at the latest.
UPDATE answered SET expires_at = :until WHERE number IN (
  SELECT number FROM answered ORDER BY number LIMIT :slice) AND expires_at > :until;

-- name: cut_sealed
-- Let sealed logins be shown until `until` at the latest.
UPDATE credential SET sealed_until = :until WHERE login IN (
  SELECT login FROM credential WHERE sealed IS NOT NULL AND sealed_until > :until LIMIT :slice);

-- name: delete_answered
-- Delete a slice of the expired first answers, oldest first.
DELETE FROM answered WHERE number IN (
  SELECT number FROM answered ORDER BY number LIMIT :slice) AND expires_at < :now;

-- name: clear_sealed
-- Clear sealed secrets that may no longer be shown.
UPDATE credential SET sealed = NULL WHERE login IN (
  SELECT login FROM credential WHERE sealed IS NOT NULL AND sealed_until < :now LIMIT :slice);

-- name: delete_imports
-- Delete the progress of files that was not continued.
DELETE FROM import WHERE touched_at < :before;

-- name: delete_former_credentials
-- Delete replaced passwords that have expired.
DELETE FROM former_credential WHERE (login, secret_hash) IN (
  SELECT login, secret_hash FROM former_credential WHERE until <= :now LIMIT :slice);

-- name: delete_tokens
-- Delete access tokens that have expired. A revoked password's row stays: it keeps the login's name.
DELETE FROM credential WHERE login IN (
  SELECT login FROM credential WHERE kind = 'access_token' AND revoked_at <= :now LIMIT :slice);

-- name: delete_events
-- Delete a slice of the audit events before `before`, oldest first.
DELETE FROM event WHERE number IN (SELECT number FROM event ORDER BY number LIMIT :slice) AND at < :before;

-- name: window_slice_end
-- The last device of the next slice of windows.
SELECT max(device_id) FROM (
  SELECT device_id FROM claim_window WHERE device_id > :after ORDER BY device_id LIMIT :slice);

-- name: delete_windows
-- Delete the windows that expired before `before`, of a slice of devices.
DELETE FROM claim_window WHERE device_id > :after AND device_id <= :until AND expires_at < :before;

-- name: service_value
SELECT value FROM service WHERE name = :name;

-- name: put_service_value
INSERT INTO service (name, value) VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;
