"""What a request costs a gateway, and two gateways in turn, so that the machine's noise falls on both."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.gateways import Gateway
from bench.load import Work, run
from gateway.commands.processes import cpu_s


@dataclass(frozen=True)
class Cost:
    """CPU of one request in microseconds: of the gateway's process tree, and of its store's server."""

    own_us: float
    store_us: float

    @property
    def both_us(self) -> float:
        """With the store's server counted in."""
        return self.own_us + self.store_us


@dataclass(frozen=True)
class Compared:
    """Medians over the pairs of runs, and the pairs' ratios, one over other."""

    ratios: list[float]
    one: Cost
    other: Cost


def cost(gateway: Gateway, work: Work, folder: Path) -> Cost:
    """One run, and what each of its requests cost. Raises load.Failed."""
    before, store_before = cpu_s(gateway.pid), _store_s(gateway)
    done = run(work, gateway.port, folder).done
    return Cost((cpu_s(gateway.pid) - before) / done * 1e6, (_store_s(gateway) - store_before) / done * 1e6)


def _store_s(gateway: Gateway) -> float:
    return cpu_s(gateway.store) if gateway.store else 0.0


def compared(
    one: tuple[Gateway, Work],
    other: tuple[Gateway, Work],
    pairs: int,
    folder: Path,
    stores: bool = False,
) -> Compared:
    """`one` between runs of `other`: other, one, other, one, … other; each beside the mean of its neighbours.

    `stores`: with the stores' servers counted in.
    """
    ones: list[Cost] = []
    others = [cost(*other, folder)]
    for _ in range(pairs):
        ones.append(cost(*one, folder))
        others.append(cost(*other, folder))

    def us(each: Cost) -> float:
        return each.both_us if stores else each.own_us

    ratios = [us(ones[i]) / ((us(others[i]) + us(others[i + 1])) / 2) for i in range(pairs)]
    return Compared(ratios, _middle(ones), _middle(others))


def _middle(costs: list[Cost]) -> Cost:
    return Cost(median(each.own_us for each in costs), median(each.store_us for each in costs))
