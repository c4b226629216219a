-- Schema 1 (user_version). Amounts are nano-USD, *_ms Unix milliseconds, *_s Unix seconds.

CREATE TABLE records (  -- keys and teams; a revoked one stays for the reports
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    alias TEXT,
    version INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    expires REAL,
    team_id TEXT,
    body TEXT NOT NULL,  -- the whole record, JSON
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX records_by_alias ON records (kind, alias) WHERE alias IS NOT NULL AND NOT revoked;

CREATE TABLE tokens (
    digest TEXT PRIMARY KEY,
    key_id TEXT NOT NULL,
    ends_ms INTEGER  -- set when it was rotated out
) WITHOUT ROWID;
CREATE INDEX tokens_by_key ON tokens (key_id);

CREATE TABLE counters (
    scope TEXT NOT NULL,
    window TEXT NOT NULL,
    end_s REAL NOT NULL,  -- 0: no end
    spent INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, window)
) WITHOUT ROWID;

CREATE TABLE holds (
    request_id TEXT PRIMARY KEY,
    nanousd INTEGER NOT NULL,
    counters TEXT NOT NULL,  -- [[scope, window], …]
    at_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE journal (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,  -- never before the entry ahead of it
    request_id TEXT NOT NULL UNIQUE,
    counters TEXT NOT NULL,  -- [[scope, window], …]: the sums that this entry is part of
    line TEXT NOT NULL
);
CREATE INDEX journal_by_time ON journal (at_ms);

CREATE TABLE claims (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE memories (name TEXT PRIMARY KEY, value BLOB NOT NULL, ends_s REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX memories_by_end ON memories (ends_s);
