"""The bench: what a gateway costs, beside nginx and beside its peers. `scripts/bench` runs it; files in its order:

__main__           the command
build              upstream.c and load.c → two programs
answers            what the mock upstream answers with, from answers/; the requests that are sent
processes          programs pinned to a core, and what they cost: CPU, memory
gateways           nginx and Headgate, each started as one worker before the mock upstream
peers              the others: installed from the package registries, started as their documentation says
load               one run of the load generator → figures
rows               the rows of the table: the work, the target, how it is measured
compared           CPU of two gateways in turn, and the median of their ratios
table              the table as text, the results as JSON
charts             the results as SVG, for docs/performance.md
"""
