-- The api's users. Columns of PostgreSQL; schema.py adapts them to SQLite.
CREATE TABLE IF NOT EXISTS auth_user (
    id bigserial PRIMARY KEY,
    is_active boolean NOT NULL DEFAULT TRUE
);
