-- Replaced passwords, which stay valid until a time, in addition to the login's own.

CREATE TABLE former_credential (
  login TEXT NOT NULL REFERENCES credential (login) ON DELETE CASCADE,
  secret_hash TEXT NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY (login, secret_hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX former_credential_until ON former_credential (until);

-- For the deletion of replaced access tokens.
CREATE INDEX credential_token_end ON credential (revoked_at) WHERE kind = 'access_token' AND revoked_at IS NOT NULL;
