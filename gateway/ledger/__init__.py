"""Money: what is spent and held, on every scope, in one atomic step at a time. From the request to the store:

hold               reserve, grow, settle, for one request; lines: who waits; refusals: what the refused are told
pulse              leases renewed, checkpoints written, dead workers' holds settled, the spool replayed
spool, spool_file  bills that the store did not take, on disk
parties, windows   records → the counters and meters that a request counts against
store              what a store must do, and every value that goes in and out of it
rules              how much fits: the rules that both stores apply
journal            a bill as it is kept
batches            many callers, few journeys
opening            which store it is
redis              the fleet's store: redis_calls (what the scripts are given, and answer), redis_scripts (lua/),
                   redis_door (the way to the server), redis_place (which server), redis_recent (what a new server is
                   told), redis_durability
sqlite             the embedded store: sqlite_file (threads and transactions), sqlite_known (what a connection knows of
                   the file, and owes to it), sqlite_money, sqlite_records, sqlite_journal (the steps)
"""
