-- Principals whose logins have ended are remembered.

-- Names whose logins the service kept and ended. A broker may publish a client's will long after its login has ended.
CREATE TABLE ended_principal (
  name TEXT PRIMARY KEY,
  ended_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Devices whose logins were all revoked before. Their rows hold at least one revoked login and none that stands.
INSERT INTO ended_principal (name, ended_at)
SELECT principal, max(revoked_at) FROM credential GROUP BY principal HAVING count(*) = count(revoked_at);
