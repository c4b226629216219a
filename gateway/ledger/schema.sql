-- Schema 2 (user_version). Amounts are nano-USD, *_ms Unix milliseconds, *_s Unix seconds.

CREATE TABLE IF NOT EXISTS records (  -- keys, teams and the other holders of caps; a revoked one stays for the reports
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
CREATE UNIQUE INDEX IF NOT EXISTS records_by_alias ON records (kind, alias) WHERE alias IS NOT NULL AND NOT revoked;

CREATE TABLE IF NOT EXISTS tokens (
    digest TEXT PRIMARY KEY,
    key_id TEXT NOT NULL,
    ends_ms INTEGER  -- set when it was rotated out
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tokens_by_key ON tokens (key_id);

CREATE TABLE IF NOT EXISTS counters (
    scope TEXT NOT NULL,
    window TEXT NOT NULL,
    end_s REAL NOT NULL,  -- 0: no end
    spent INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    folded INTEGER NOT NULL DEFAULT 0,  -- what of `spent` stands in entries that have left the journal
    PRIMARY KEY (scope, window)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS meters (  -- requests and tokens, by the bucket of a sliding window
    scope TEXT NOT NULL,
    measure TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (scope, measure, bucket)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS slots (  -- requests at once
    scope TEXT PRIMARY KEY,
    running INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS holds (
    request_id TEXT PRIMARY KEY,
    nanousd INTEGER NOT NULL,
    counters TEXT NOT NULL,  -- [[scope, window, end_s], …]
    meters TEXT NOT NULL,  -- [[scope, measure, bucket, amount], …]
    tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL DEFAULT 0,  -- at the last checkpoint
    line TEXT NOT NULL,  -- the journal's, should no other come
    deadline_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holds_by_deadline ON holds (deadline_ms);

CREATE TABLE IF NOT EXISTS reaper (  -- one row: when a reap last came, and since when without a pause
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seen_s REAL NOT NULL,
    steady_s REAL NOT NULL
);

CREATE TABLE IF NOT EXISTS settled (  -- for some days, so that no request is settled twice
    request_id TEXT PRIMARY KEY,
    provisional INTEGER,  -- at what a lost hold was settled; NULL: for good
    line TEXT NOT NULL DEFAULT '',  -- of that
    at_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS settled_by_time ON settled (at_ms);

CREATE TABLE IF NOT EXISTS journal (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,  -- never before the entry ahead of it
    request_id TEXT NOT NULL,
    cost INTEGER NOT NULL,
    overrun INTEGER NOT NULL DEFAULT 0,
    adjusts TEXT NOT NULL DEFAULT '',  -- the line of the provisional bill that this one puts right
    counters TEXT NOT NULL,  -- [name, …]: the sums that this entry is part of
    line TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS journal_by_time ON journal (at_ms);

CREATE TABLE IF NOT EXISTS folds (  -- what has left the journal
    day TEXT NOT NULL,
    called TEXT NOT NULL,  -- the group, JSON
    cost INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    usage TEXT NOT NULL,  -- JSON
    PRIMARY KEY (day, called)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS claims (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS locks (name TEXT PRIMARY KEY, owner TEXT NOT NULL, ends_s REAL NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS memories (name TEXT PRIMARY KEY, value BLOB NOT NULL, ends_s REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS memories_by_end ON memories (ends_s);
