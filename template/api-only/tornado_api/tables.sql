-- Types of PostgreSQL, which schema.py adapts to SQLite. First the users of the api, and its tokens. To revoke a token, add a
-- row without a user.
CREATE TABLE IF NOT EXISTS accounts_user (id bigserial PRIMARY KEY, is_active boolean NOT NULL DEFAULT TRUE);
CREATE TABLE IF NOT EXISTS tokens_token (
    jti varchar(32) PRIMARY KEY, user_id bigint REFERENCES accounts_user, expires_at timestamptz NOT NULL
);
