#!/usr/bin/python3
"""A full table: how long it takes to load, and what one change of it costs.

A million IPv4 routes (seeded; prefix lengths as in the Internet's table; 16 next hops) are given to
`sluice route load`, which is timed from its first byte to all workers adopted, and to `ip -batch`,
into a kernel table of a namespace of its own. Rounds are interleaved, so that whatever else the
machine does hits both alike; what counts is the ratio.

Then one route is changed at a time, over HTTP, on the full table: `wall` is from the request to all
workers adopted, with commits on disk and with commits in memory; `work` is CPU time of both
processes but the workers, which is left when nobody waits for a disk. The last row is many such
commits while a numbered stream goes through the router, every packet of which must come out.

    make bench-load          # or: bench/load.py --routes 100000 --rounds 5
"""

import argparse
import contextlib
import json
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lab import Control, Lab, Load, Sluice, worker_core  # noqa: E402

# Of a thousand prefixes, how many have which length: about what BGP tables have.
LENGTHS = {24: 600, 23: 100, 22: 110, 21: 50, 20: 45, 19: 32, 18: 18, 17: 12, 16: 28, 15: 3, 14: 2}
NEXT_HOPS = [f"10.0.2.{host}" for host in range(2, 18)]
# Where the stream goes; no prefix of the table covers it.
STREAM = "198.51.100.1"
CONFIGURATION = f"""\
dataplane: {{ cores: [{worker_core()}], memory: 256 }}
ports:
  lan: {{ device: "net_af_packet0,iface=lan", addresses: [10.0.1.1/24] }}
  wan: {{ device: "net_af_packet1,iface=wan", addresses: [10.0.2.1/24] }}
routes: [ {{ to: 198.51.100.0/24, via: 10.0.2.2 }} ]
neighbours:
  - {{ interface: lan, address: 10.0.1.2, mac: "02:00:00:00:01:02" }}
  - {{ interface: wan, address: 10.0.2.2, mac: "02:00:00:00:02:02" }}
"""


def table(count, seed):
    """So many different prefixes, each with a next hop, in the order of their addresses."""
    random_ = random.Random(seed)
    lengths = random_.choices(list(LENGTHS), LENGTHS.values(), k=count)
    prefixes = set()
    for length in lengths:
        while True:
            number = random_.randrange(1 << 24, 224 << 24) >> (32 - length) << (32 - length)
            first = number >> 24
            if first not in (10, 127, 198) and (number, length) not in prefixes:
                prefixes.add((number, length))
                break
    dotted = (
        (f"{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}/{length}")
        for n, length in sorted(prefixes)
    )
    return [(prefix, random_.choice(NEXT_HOPS)) for prefix in dotted]


class Router:
    """A router between two wires whose commits are kept in a directory."""

    def __init__(self, lab, state):
        router = lab.namespace()
        self.lan = lab.wire(router, "lan", mac="02:00:00:00:01:02")
        self.wan = lab.wire(router, "wan", mac="02:00:00:00:02:02")
        os.environ["SLUICE_STATE"] = str(state)
        os.environ["SLUICE_LOG"] = "debug"
        self.sluice = Sluice(router, CONFIGURATION)

    def load(self, file):
        """Loads the table: seconds from the start of the command to its end."""
        started = time.monotonic()
        self.sluice.run("route", "load", file, "--owner", "bgp")
        return time.monotonic() - started

    def phases(self):
        """Milliseconds of the parts of the largest commit, by name."""
        largest = {}
        for line in self.sluice.log.splitlines():
            found = re.search(r"took .*?operations=(\d+) (.*)", re.sub(r"\x1b\[[0-9;]*m", "", line))
            if found and int(found[1]) >= largest.get("operations", 0):
                parts = dict(re.findall(r"(\w+)=([\d.]+)", found[2]))
                largest = {"operations": int(found[1]), **{k: float(v) for k, v in parts.items()}}
        largest.pop("operations", None)
        return largest

    def empty(self):
        self.sluice.run("route", "withdraw", "--owner", "bgp")

    def work(self):
        """CPU seconds of both processes so far, workers aside."""
        processes = self.sluice.processes()
        nanoseconds = 0
        for program in ("sluice-control", "sluice-dataplane"):
            for task in Path(f"/proc/{processes[program]}/task").iterdir():
                with contextlib.suppress(OSError):
                    if not (task / "comm").read_text().startswith("worker"):
                        nanoseconds += int((task / "schedstat").read_text().split()[0])
        return nanoseconds / 1e9

    def change(self, routes, commits, weigh=False):
        """Changes one route after the other: wall seconds of each, and CPU seconds if asked."""
        walls, works = [], []
        with Control(self.sluice.directory / "run").closing() as control:
            for n in range(commits):
                prefix, _ = routes[n * 7919 % len(routes)]
                via = NEXT_HOPS[n % len(NEXT_HOPS)]
                route = {"to": prefix, "via": via, "owner": "bgp", "tag": n + 1}
                body = json.dumps({"operations": [{"set": route}]})
                before = self.work() if weigh else 0
                started = time.monotonic()
                control.post("/v1/transaction", body)
                walls.append(time.monotonic() - started)
                if weigh:
                    time.sleep(0.002)  # what is left to do after the answer counts as well
                    works.append(self.work() - before)
        return walls, works


class Kernel:
    """A kernel table in a namespace of its own."""

    def __init__(self, lab):
        self.namespace = lab.namespace("kernel")
        self.namespace.run("ip", "link", "add", "wan", "type", "veth", "peer", "name", "far")
        self.namespace.run("ip", "addr", "add", "10.0.2.1/24", "dev", "wan")
        for end in ("far", "wan"):
            self.namespace.run("ip", "link", "set", end, "up")

    def load(self, file):
        started = time.monotonic()
        self.namespace.run("ip", "-batch", file)
        return time.monotonic() - started

    def empty(self):
        self.namespace.run("ip", "link", "set", "wan", "down")
        self.namespace.run("ip", "link", "set", "wan", "up")


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure(options, directory):
    """Everything, as rows of a table and what is not as it must be."""
    routes = table(options.routes, options.seed)
    ours, theirs = Path(directory) / "table.ndjson", Path(directory) / "table.batch"
    ours.write_text("".join(f'{{"set":{{"to":"{p}","via":"{via}"}}}}\n' for p, via in routes))
    theirs.write_text("".join(f"route add {p} via {via}\n" for p, via in routes))
    memory = tempfile.TemporaryDirectory(prefix="sluice-bench-", dir="/dev/shm")
    rows, wrong = [], []
    with memory as in_memory, Lab() as lab, Lab() as second:
        kernel, loads = Kernel(lab), {"sluice": [], "kernel": []}
        router = Router(lab, Path(directory) / "state")
        with router.sluice:
            for round_ in range(options.rounds):
                if round_:
                    router.empty()
                    kernel.empty()
                loads["sluice"].append(router.load(ours))
                loads["kernel"].append(kernel.load(theirs))
            parts = router.phases()
            kernel.empty()
            on_disk, _ = router.change(routes, options.changes)
        router = Router(second, Path(in_memory) / "state")
        with router.sluice:
            router.load(ours)
            router.change(routes, 20)
            in_memory, _ = router.change(routes, options.changes)
            _, work = router.change(routes, options.changes, weigh=True)
            with Load(router.lan, {"wan": router.wan}, STREAM, rate=options.rate) as stream:
                started = time.monotonic()
                router.change(routes, options.commits)
                seconds = time.monotonic() - started
        if stream.lost or stream.doubled or not stream.in_order:
            wrong.append(f"{len(stream.lost)} of {stream.sent} packets lost, {stream.doubled} doubled")
    rows.append(("load", "sluice route load", loads["sluice"], parts))
    rows.append(("load", "ip -batch", loads["kernel"], {}))
    rows.append(("one change", "wall, commits on disk", on_disk, {}))
    rows.append(("one change", "wall, commits in memory", in_memory, {}))
    rows.append(("one change", "work (CPU time)", work, {}))
    return rows, (seconds, stream), wrong


def show(options, rows, traffic, wrong):
    seconds, stream = traffic
    load, kernel = (statistics.median(times) for _, _, times, _ in rows[:2])
    print(f"{options.routes:,} IPv4 routes, {len(NEXT_HOPS)} next hops, medians of {options.rounds} rounds")
    print(f"{'load':<28} {'seconds':>9} {'best':>9} {'routes/s':>12} {'x ip -batch':>12}")
    for _, name, times, parts in rows[:2]:
        median = statistics.median(times)
        print(f"{name:<28} {median:>9.2f} {min(times):>9.2f} {options.routes / median:>12,.0f} {median / kernel:>12.2f}")
        if parts:
            print("  of which (ms): " + ", ".join(f"{part} {ms:.0f}" for part, ms in parts.items()))
    print(f"\n{'one route changed':<28} {'median us':>9} {'p99 us':>9}   of {options.changes:,} commits")
    for _, name, times, _ in rows[2:]:
        print(f"{name:<28} {statistics.median(times) * 1e6:>9.0f} {percentile(times, 0.99) * 1e6:>9.0f}")
    print(
        f"\n{options.commits:,} commits in {seconds:.1f} s ({options.commits / seconds:,.0f} a second) under "
        f"{stream.sent:,} packets: {len(stream.lost)} lost, longest silence {stream.gap * 1e3:.1f} ms"
    )
    for line in wrong:
        print(f"wrong: {line}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, default=1_000_000, help="routes of the table")
    parser.add_argument("--rounds", type=int, default=3, help="loads of each")
    parser.add_argument("--changes", type=int, default=500, help="commits that are timed one by one")
    parser.add_argument("--commits", type=int, default=10_000, help="commits in a row under traffic")
    parser.add_argument("--rate", type=int, default=2_000, help="packets a second of that traffic")
    parser.add_argument("--seed", type=int, default=1, help="of the table")
    parser.add_argument("--binaries", default=ROOT / "target/release", help="where the programs are")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench: namespaces can only be made by root")
    os.environ["SLUICE_BIN"] = str(options.binaries)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as directory:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            measured = measure(options, directory)
    show(options, *measured)
    sys.exit(1 if measured[2] else 0)


if __name__ == "__main__":
    main()
