"""What a gateway costs, beside nginx and beside its peers. `scripts/bench` runs it. Files in the order of their use:

    __main__           the command
    build              upstream.c and load.c → two programs
    answers            what the mock upstream answers with, from answers/; the requests that are sent
    processes          programs pinned to a core (what they cost: gateway.commands.processes)
    gateways           the mock upstream, nginx and Headgate, each started as one worker
    peers              the others: installed from the package registries, started as their documentation says
    stand              what runs for the whole time, and how long each measurement may take
    load               one run of the load generator → figures
    compared           CPU of two gateways in turn, and the median of their ratios
    rows, waits        the rows of the table: the work, the target, how it is measured (CPU; latency, memory, start)
    table              the table as text, the results as JSON
    charts             the results as SVG, for docs/performance.md

docs/performance.md says how and why.
"""
