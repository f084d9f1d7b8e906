-- Types of PostgreSQL, which schema.py adapts to SQLite. First the users of the api.
CREATE TABLE IF NOT EXISTS accounts_user (id bigserial PRIMARY KEY, is_active boolean NOT NULL DEFAULT TRUE);
