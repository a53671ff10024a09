"""Two policies that no packet can mistake for each other, and no mixture of them lets pass.

Both route the same destination, A by the port `wan`, B by `thin`; and each drops what leaves by the
other's. So a packet that is handled by the routes of one and the filter of the other is dropped
under `half-…`, a packet handled by one policy comes out by that policy's port, and is counted by
its rule `whole-…`.
"""

from .halves import Halves
from .load import Load
from .sluice import worker_core

DESTINATION = "192.0.2.1"
_PORTS = ("lan", "wan", "thin")


def configuration(which, routes=0, cores=None):
    """The file of policy `"A"` or `"B"`, with so many more routes, all of which differ."""
    own, other, hop = ("wan", "thin", "10.0.2.2") if which == "A" else ("thin", "wan", "10.0.3.2")
    lines = [f"dataplane: {{ cores: {cores or [worker_core()]}, memory: 256 }}", "ports:"]
    for place, port in enumerate(_PORTS):
        lines += [
            f"  {port}:",
            f"    device: net_af_packet{place},iface={port}",
            f"    addresses: 10.0.{place + 1}.1/24",
        ]
    lines.append("neighbours:")
    for place, port in enumerate(_PORTS, 1):
        mac = f"02:00:00:00:0{place}:02"
        lines.append(f'  - {{ interface: {port}, address: 10.0.{place}.2, mac: "{mac}" }}')
    lines += [
        "filters:",
        "  forward:",
        "    rules:",
        f"      - {{ name: whole-{which}, out: {own}, action: count }}",
        f"      - {{ name: half-{which}, out: {other}, action: drop }}",
        "routes:",
        f"  - {{ to: {DESTINATION}/32, via: {hop} }}",
    ]
    for number in range(routes):
        prefix = f"{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.0/24"
        lines.append(f"  - {{ to: {prefix}, via: {hop} }}")
    return "\n".join(lines) + "\n"


class Alternating:
    """Three wires around a router that has policy A; the programs are `self.halves`."""

    def __init__(self, lab, routes=0, **options):
        self.routes, self._cores = routes, options.get("cores")
        self.router = lab.namespace()
        self.wires = {
            port: lab.wire(self.router, port, mac=f"02:00:00:00:0{place}:02")
            for place, port in enumerate(_PORTS, 1)
        }
        self.halves = Halves(self.router, self.configuration("A"), **options)

    def load(self, rate=2000, source="lan"):
        """A stream that comes out by `wan` under A and by `thin` under B."""
        sinks = {port: self.wires[port] for port in ("wan", "thin")}
        return Load(self.wires[source], sinks, DESTINATION, rate=rate, starved=self._starved)

    def _starved(self):
        stats = self.halves.ask("/v1/stats")
        return sum(port["kernel_drops"] for port in stats["ports"]) if stats else 0

    def configuration(self, which):
        """The file of policy A or B."""
        return configuration(which, self.routes, self._cores)

    def live(self, control, samples=20):
        """Which policy is live, by what it says of many packets; never both."""
        targets = [DESTINATION]
        if self.routes:
            step = max(1, self.routes // samples)
            targets += [
                f"{100 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.7" for n in range(0, self.routes, step)
            ]
        questions = [{"input": "lan", "src": "10.0.1.2", "dst": target} for target in targets]
        said = control.post("/v1/explain/many", questions)
        ways = {(way["verdict"], way["egress"], way["rule"]["name"]) for way in said}
        assert len(ways) == 1, f"a mixture: {ways}"
        return {"wan": "A", "thin": "B"}[ways.pop()[1]]

    def assert_whole(self, load):
        """No packet lost, doubled, overtaken, or handled by half a policy."""
        assert load.lost == [], f"{len(load.lost)} of {load.sent} lost: {load.lost[:10]}…"
        assert load.doubled == 0
        assert load.in_order
        assert self.halved() == 0

    def halved(self):
        """Packets that were handled by a mixture of policies."""
        rules = self.halves.ask("/v1/rules")
        drops = self.halves.ask("/v1/drops")
        by_rule = sum(row["packets"] for row in rules if row["name"].startswith("half"))
        return by_rule + sum(row["packets"] for row in drops if row["reason"] == "forward-filter")
