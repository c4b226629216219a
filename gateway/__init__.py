"""The shell that meets the world. Files in the order in which a request meets them:

    serve, first_run   `headgate serve`: check, prepare the store, say how to begin, run the workers
    app                the route; nothing in front of a stream but this
    gateway            what the endpoints need, in one value
    chat               tells the story of one request, top to bottom
    client, hang_up    the caller's end of the connection, and its going away
    keys               the bearer token → a virtual key
    routing            the model name → ordered targets (provider + upstream model)
    memory             signed reasoning of earlier turns, for clients that do not send it back
    ceilings           the most this request can cost (pricing, estimate), and how long its answer may be
    ledger/            hold: reserve on every scope at once, wait one's turn, settle; store: what Redis and SQLite do
    usual              how long answers are, learned, so that a small cap serves many at once
    attempts           each target in turn until one answers; choices: several calls where one gives one choice
    fetch              images that a provider wants inline
    credentials        aws and google: requests signed; renewal: tokens kept fresh
    upstream, demo     the connection pool; the built-in provider
    billing            what was observed → the bill
    telemetry          one log line

Beside the request: `config` (settings, price_list, facts) reads what people write; `listing` is GET /v1/models and
health; `explain` shows what would be sent; `admin` (operations, records, admin_forms, admin_answers, openapi,
virtual_keys) makes keys and teams; `usage` (spending, export, parquet, report_forms), `audit` and `why` report on
them; `retention` lets old entries go; `cli` (tables, charts) is the command; `reconcile` (provider_reports) compares
with what a provider bills; `cli_prices` (price_diff, fact_rows, fact_choice) compares prices with collected facts;
`outcome_table` makes docs/providers.md.
"""
