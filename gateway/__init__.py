"""The shell that meets the world. Files in the order in which a request meets them:

    serve, first_run   `headgate serve`: check, prepare the store, say how to begin, run the workers
    app                the route; nothing in front of a stream but this
    gateway            what the endpoints need, in one value
    chat               tells the story of one request, top to bottom
    client, hang_up    the caller's end of the connection, and its going away
    keys               the bearer token → a virtual key
    routing            the model name → ordered targets (provider + upstream model)
    ceilings           the most this request can cost (pricing, estimate), and how long its answer may be
    ledger/            hold: reserve it on every scope at once, wait one's turn, settle; store: what both stores do
    attempts           each target in turn until one answers
    choices            several upstream calls at once, where a provider has no `n`
    memory, fetch      signed reasoning of earlier turns; images that a provider wants inline
    credentials        tokens and signatures of providers that want more than a key (aws, google)
    explain            the same up to here without sending: what would be sent, and the most it could cost
    upstream, demo     the connection pool; the built-in provider
    billing            what was observed → the bill
    telemetry          one log line

Beside the request: `config` (settings, price_list, facts) reads what people write; `listing` is GET /v1/models and
health; `admin` (operations, records, usage, admin_forms, admin_answers, openapi) makes keys and teams and reports on
them; `cli` is the command; `outcome_table` makes the tables of docs/providers.md.
"""
