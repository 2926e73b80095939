-- The service remembers principals whose logins it ended.

-- A broker may publish a client's will long after the client's login ended.
CREATE TABLE ended_principal (
  name TEXT PRIMARY KEY,
  ended_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Devices whose logins were all revoked earlier: they have at least one revoked login and no other.
INSERT INTO ended_principal (name, ended_at)
SELECT principal, max(revoked_at) FROM credential GROUP BY principal HAVING count(*) = count(revoked_at);
