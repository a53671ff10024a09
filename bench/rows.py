"""Lines of the standing set's table, and what they are made of."""

import dataclasses
import statistics


@dataclasses.dataclass
class Row:
    """A line of the table. `ratio` is to what `goal` speaks of; `limit` is what it may be: at most,
    or at least where `least` says so."""

    workload: str
    measured: str
    goal: str = ""
    ratio: float | None = None
    limit: float | None = None
    least: bool = False
    # Why nothing follows from the figure, if nothing does.
    unsettled: str = ""

    def verdict(self):
        if self.limit is None or self.ratio is None:
            return ""
        if self.unsettled:
            return f"not settled: {self.unsettled}"
        met = self.ratio >= self.limit if self.least else self.ratio <= self.limit
        by = self.limit / self.ratio if self.least else self.ratio / self.limit
        return "met" if met else f"missed by {100 * (by - 1):.0f} %"

    def as_dict(self):
        return {**dataclasses.asdict(self), "verdict": self.verdict()}


@dataclasses.dataclass
class Found:
    """Lines of the table, and series of points to draw."""

    rows: list
    series: dict = dataclasses.field(default_factory=dict)


class Costs:
    """Nanoseconds a packet, by name."""

    def __init__(self, costs):
        self.all = costs

    def ns(self, name):
        return statistics.median(self.all[name])

    def best(self, name):
        return min(self.all[name])

    def ratio(self, name, to):
        return self.ns(name) / self.ns(to)

    def text(self, name):
        return f"{self.ns(name):.1f} ns ({self.best(name):.1f})"

    def kept(self):
        return {name: [round(ns, 2) for ns in all_] for name, all_ in self.all.items()}
