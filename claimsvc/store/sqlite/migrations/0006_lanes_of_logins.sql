-- The lane of a shared login names the login, and ended principals are remembered.

-- Until now every poll came in `c/<client id>/`. Only devices of the login `bootstrap` may poll from now on, so the
-- lane that polled first is that login's: a waiting device stays the rightful one and is told of its acceptance.
UPDATE device_request SET lane = 'c/bootstrap/' || substr(lane, 3) WHERE lane GLOB 'c/*';

-- Names whose logins the service kept and ended. A broker may publish a client's will long after its login has ended.
CREATE TABLE ended_principal (
  name TEXT PRIMARY KEY,
  ended_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Devices whose logins were all revoked before. Their rows hold at least one revoked login and none that stands.
INSERT INTO ended_principal (name, ended_at)
SELECT principal, max(revoked_at) FROM credential GROUP BY principal HAVING count(*) = count(revoked_at);
