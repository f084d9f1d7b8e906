CREATE TABLE IF NOT EXISTS polls_question (
    id bigserial PRIMARY KEY, text varchar(200) NOT NULL, picture varchar(100) NOT NULL, version bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, closes_at timestamptz
);
CREATE TABLE IF NOT EXISTS polls_choice (
    id bigserial PRIMARY KEY, text varchar(100) NOT NULL, position smallint NOT NULL,
    question_id bigint NOT NULL REFERENCES polls_question
);
CREATE TABLE IF NOT EXISTS polls_vote (
    id bigserial PRIMARY KEY, key varchar(64) NOT NULL, question_id bigint NOT NULL REFERENCES polls_question,
    choice_id bigint NOT NULL REFERENCES polls_choice, voter_id bigint NOT NULL REFERENCES accounts_user,
    UNIQUE (question_id, voter_id)
);
