"""The shell that meets the world. Files in the order in which a request meets them:

    serve, first_run   `headgate serve`: check, prepare the store, say how to begin, run the workers
    http1              the connections of callers; http1_exchange: one request on one, and its answer
    app                the route; nothing in front of a stream but this
    gateway            what the endpoints need, in one value
    chat               tells the story of one request, top to bottom
    client, hang_up    the caller's end of the connection, and its going away
    deadlines          ends of patience that are seldom reached, many on one timer
    keys, payers       the bearer token → a virtual key; whose caps and limits a request counts against
    virtual_keys       how tokens, ids and amounts in USD are written
    routing            the model name → ordered targets (provider + upstream model)
    bounded            what is kept in mind of what there may be any number of
    memory             signed reasoning of earlier turns, for clients that do not send it back
    ceilings           the most this request can cost, and how long its answer may be
    funds, growth      the request's hold: taken, raised for another attempt, grown with a stream
    usual              how long answers are, learned, so that a small cap serves many at once
    ledger/            hold: reserve on every scope at once, wait one's turn, settle; store: what Redis and SQLite do
    attempts           each target in turn until one answers; choices: several calls where one gives one choice
    fetch              images that a provider wants inline
    credentials/       aws and google: requests signed; renewal: tokens kept fresh
    upstream, demo     the connection pool; the built-in provider
    origin, connection one origin's connections, and who waits for one; one of them, as its bytes come
    dial, proxies      how a connection is made; which proxy leads there. trust: whose certificates are believed
    relay              a stream on its way through
    billing            what was observed → the bill
    telemetry, alerts  one log line; soft budgets

Beside the request: `config` (settings) reads what people write; `prices/` is what things cost; `listing` is GET
/v1/models and health; `explain` shows what would be sent; `admin/` makes keys and the other holders of caps;
`reports/` adds up what was spent, proves it and lets old entries go; `cli` and `commands/` are the command;
`outcome_table` makes docs/providers.md.
"""
