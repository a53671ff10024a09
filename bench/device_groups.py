"""The workloads of the standing set that need no wire: packets come from a capture or are made in the
process, and go nowhere. Each function is a group that is measured together."""

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from contenders import ROOT, Hugepages, Sluice, Testpmd, Together, interleaved
from rows import Costs, Found, Row
from workloads import FLOWS, GENERATED, MBUFS, MEMORY, SINK, acl_rules, configuration, filters, flows_pcap, other_routes, pcap_device, policy_routes, routes

sys.path.insert(0, str(ROOT / "tests"))

from lab import Control  # noqa: E402


# MiB of hugepages for a contender: its buffers, and what EAL takes beside them.
PAGES = MEMORY + 32


class Bench:
    """What the groups share."""

    def __init__(self, options, directory):
        self.rounds, self.core, self.main_core = options.rounds, options.core, options.main_core
        self.binaries = Path(options.binaries).resolve()
        self.directory = Path(directory)

    # -- contenders ------------------------------------------------------------------------------

    def testpmd(self, devices, name, mode="macswap", **more):
        more.setdefault("cores", (self.core,))
        more.setdefault("memory", MEMORY)
        more.setdefault("mbufs", MBUFS)
        return Testpmd(mode, devices, main_core=self.main_core, name=name, **more)

    def sluice(self, device, name, policy=None, counter="tx", environment=None, kind=Sluice, binaries=None, **more):
        """Sluice under the stateful filter, unless told another policy."""
        more.setdefault("cores", (self.core,))
        text = configuration(device, **more, more=policy if policy is not None else stateful())
        return kind(self.directory, text, binaries or self.binaries, name=name, counter=counter, environment=environment)

    def measured(self, contenders, rounds=None):
        """What each costs, by interleaved rounds; `contenders` are functions that start one."""
        running = []
        try:
            for start in contenders:
                running.append(start())
            return Costs(interleaved(running, rounds or self.rounds)), running
        finally:
            for contender in running:
                contender.close()

    # -- devices ---------------------------------------------------------------------------------

    def pcap(self, flows=FLOWS, family=4, number=0):
        path = self.directory / f"{flows}-{family}.pcap"
        if not path.exists():
            flows_pcap(path, flows, family)
        return pcap_device(number, path)

    def flows(self, **settings):
        """The environment in which net_null0 makes packets: see flows.c."""
        library = self.directory / "flows.so"
        if not library.exists():
            flags = subprocess.run(["pkg-config", "--cflags", "libdpdk"], check=True, capture_output=True, text=True).stdout.split()
            subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", library, ROOT / "bench/flows.c", *flags, "-ldl"], check=True)
        said = " ".join(f"{key}={value}" for key, value in {"device": "net_null0", **settings}.items())
        return {"LD_PRELOAD": str(library), "SLUICE_FLOWS": said}


def stateful(last="accept"):
    """The policy of most workloads: ten rules behind a stateful filter, ten routes."""
    return routes(10) + filters(last=last)


def known(bench):
    """Known flows beside the I/O floor, in from captures."""
    many = 65536
    small, large, six = bench.pcap(), bench.pcap(many), bench.pcap(family=6)
    with Hugepages(PAGES * 4):
        few, _ = bench.measured([
            lambda: bench.testpmd([small, SINK], "macswap, 1k flows"),
            lambda: bench.sluice(small, "no filter, 1k flows", policy=routes(10)),
            lambda: bench.sluice(small, "1k flows"),
            lambda: bench.sluice(six, "IPv6, 1k flows"),
        ])
    # A buffer for each packet of the capture, in a pool that is a quarter of the memory.
    with Hugepages(512 + 1300):
        more, _ = bench.measured([
            lambda: bench.testpmd([large, SINK], "macswap, 64k flows", memory=512, mbufs=131072),
            lambda: bench.sluice(large, "64k flows", memory=1280, flows=1 << 18),
        ])
    costs = Costs(few.all | more.all)
    rows = [
        Row("testpmd macswap, 1k flows", costs.text("macswap, 1k flows")),
        Row("testpmd macswap, 64k flows", costs.text("macswap, 64k flows")),
        Row("1k flows, no filter", costs.text("no filter, 1k flows"), "", costs.ratio("no filter, 1k flows", "macswap, 1k flows")),
        Row("1k flows", costs.text("1k flows"), "<= 1.5 x macswap", costs.ratio("1k flows", "macswap, 1k flows"), 1.5),
        Row("64k flows", costs.text("64k flows"), "<= 1.7 x macswap, 64k flows", costs.ratio("64k flows", "macswap, 64k flows"), 1.7),
        Row("IPv6, 1k flows", costs.text("IPv6, 1k flows"), "<= 1.25 x IPv4", costs.ratio("IPv6, 1k flows", "1k flows"), 1.25),
    ]
    return Found(rows, {"known": costs.kept()})


def flows(bench):
    """Packets made in the process: many flows, new flows, a flood."""
    counts = [1 << 10, 1 << 13, 1 << 16, 1 << 18, 1 << 20]
    few, many = counts[0], counts[-1]

    def even(n):
        return bench.sluice(GENERATED, f"{n} flows", environment=bench.flows(pattern="random", count=n), flows=max(2 * n, 1 << 16))

    def floor(n):
        return bench.testpmd([GENERATED, SINK], f"macswap, {n} flows", environment=bench.flows(pattern="random", count=n))

    fresh = bench.flows(pattern="new", transport="syn")
    with Hugepages(PAGES * (len(counts) + 4)):
        costs, _ = bench.measured([
            *(lambda n=n: floor(n) for n in (few, many)),
            *(lambda n=n: even(n) for n in counts),
            lambda: bench.sluice(GENERATED, "new flows", environment=fresh, flows=1 << 18),
            lambda: bench.sluice(GENERATED, "flood", policy=stateful("drop"), counter="rx", environment=fresh, flows=1 << 18),
        ])
    new, flood = 1000 / costs.ns("new flows"), costs.ratio(f"{few} flows", "flood")
    rows = [
        Row("testpmd macswap, made in process", costs.text(f"macswap, {few} flows")),
        Row("1k random flows, made in process", costs.text(f"{few} flows"), "", costs.ratio(f"{few} flows", f"macswap, {few} flows")),
        Row("1M random flows, made in process", costs.text(f"{many} flows"), "<= 3 x 1k flows", costs.ratio(f"{many} flows", f"{few} flows"), 3),
        Row("every packet a new flow (TCP SYN)", f"{new:.1f} M/s", ">= 5 M/s", new / 5, 1, least=True),
        Row("every packet a new flow that a rule drops", f"{1000 / costs.ns('flood'):.1f} M/s", ">= 0.6 x known flows", flood, 0.6, least=True),
    ]
    points = [[n, round(1000 / costs.ns(f"{n} flows"), 2)] for n in counts]
    return Found(rows, {"flows": costs.kept(), "throughput by flows": points})


def acl(bench, rules):
    """Nanoseconds that dpdk-test-acl takes to classify the same packets by so many rules alone."""
    files = {"rulesf": bench.directory / "acl.rules", "tracef": bench.directory / "acl.trace"}
    files["rulesf"].write_text("".join(acl_rules(rules)))
    files["tracef"].write_text("".join(f"{0x0A000002} {0x0A010000 + n} {n} 9 17\n" for n in range(FLOWS)))
    command = [
        "dpdk-test-acl", "-l", str(bench.core), "--no-huge", "-m", "512", "--no-pci", "--no-telemetry", "--no-shconf", "--",
        *(f"--{option}={path}" for option, path in files.items()),
        f"--tracenum={FLOWS}", f"--rulenum={rules}", "--iter=2000", "--tracestep=64", "--verbose=0"]
    times = []
    for _ in range(bench.rounds):
        said = subprocess.run(command, capture_output=True, text=True)
        found = re.search(r"([\d.]+) pkt/sec", said.stdout + said.stderr)
        if not found:
            sys.exit(f"bench: dpdk-test-acl: {said.stderr[-800:]}")
        times.append(1e9 / float(found[1]))
    return times


def policy(bench):
    """How the cost of known flows depends on what the policy holds."""
    sizes = {"rules": [10, 100, 1_000, 10_000], "routes": [10, 1_000, 100_000, 1_000_000], "policy routes": [0, 10, 100, 1_000]}
    device = bench.pcap()

    def start(kind, n):
        name = f"{n} {kind}"
        if kind == "rules":
            return bench.sluice(device, name, policy=routes(10) + filters(n))
        if kind == "policy routes":
            return bench.sluice(device, name, policy=stateful() + (policy_routes(n) if n else ""))
        sluice = bench.sluice(device, name, policy=stateful())
        table = bench.directory / f"{n}.ndjson"
        table.write_text("".join(f'{{"set":{{"to":"{to}","via":"{via}"}}}}\n' for to, via in other_routes(n)))
        sluice.resume()
        sluice.answers()
        sluice.run("route", "load", table, "--owner", "bgp")
        sluice.pause()
        return sluice

    contenders = {"base": lambda: bench.sluice(device, "base", policy=stateful())}
    contenders |= {f"{n} {kind}": lambda kind=kind, n=n: start(kind, n) for kind, ns in sizes.items() for n in ns[1:]}
    with Hugepages(PAGES * len(contenders)):
        costs, _ = bench.measured(list(contenders.values()))
    rows, series = [Row("10 rules, 10 routes, no policy route", costs.text("base"))], {"policy": costs.kept()}
    for kind, ns in sizes.items():
        name = f"{ns[-1]} {kind}"
        rows.append(Row(f"{ns[-1]:,} {kind}, 1k flows", costs.text(name), f"<= 1.05 x {ns[0]} {kind}", costs.ratio(name, "base"), 1.05))
        if kind == "rules":
            times = {"dpdk-test-acl": acl(bench, ns[-1])}
            rows.append(Row(f"dpdk-test-acl, {ns[-1]:,} rules, classification alone", Costs(times).text("dpdk-test-acl")))
        series[f"throughput by {kind}"] = [[n, round(1000 / costs.ns(f"{n} {kind}" if n != ns[0] else "base"), 2)] for n in ns]
    return Found(rows, series)


class Churned(Sluice):
    """Sluice whose routes change while a window lasts: so many a second, to no packet's destination."""

    RATE, BATCH = 1000, 10

    changed = 0
    changing = 0.0

    def window(self, *arguments):
        ended = threading.Event()
        thread = threading.Thread(target=self.change, args=(ended,))
        thread.start()
        try:
            return super().window(*arguments)
        finally:
            ended.set()
            self.resume()
            thread.join()
            self.pause()

    def change(self, ended):
        prefixes = other_routes(self.RATE, seed=5)
        started, sent = time.monotonic(), 0
        with Control(self.dir).closing() as control:
            while not ended.is_set():
                place = sent % len(prefixes)
                via = f"10.2.0.{2 + sent // len(prefixes) % 200}"
                some = prefixes[place:place + self.BATCH]
                operations = [{"set": {"to": to, "via": via, "owner": "bgp", "tag": sent + 1}} for to, _ in some]
                control.post("/v1/transaction", json.dumps({"operations": operations}))
                sent += self.BATCH
                ended.wait(max(0.0, started + sent / self.RATE - time.monotonic()))
        self.changed += sent
        self.changing += time.monotonic() - started


def churn(bench):
    """Neighbours that move and routes that change beside known flows."""
    quiet, noisy = bench.flows(), bench.flows(arp=2000)
    with Hugepages(PAGES * 2):
        costs, running = bench.measured([
            lambda: bench.sluice(GENERATED, "quiet", environment=quiet),
            lambda: bench.sluice(GENERATED, "churn", environment=noisy, kind=Churned),
        ], max(bench.rounds, 7))
    rate = running[1].changed / max(running[1].changing, 1e-9)
    row = Row(
        f"1,000 gratuitous ARP and {rate:,.0f} route changes a second", costs.text("churn"), "<= 1.05 x quiet",
        costs.ratio("churn", "quiet"), 1.05, unsettled="" if rate >= 0.95 * Churned.RATE else "too few changes")
    return Found([row], {"churn": costs.kept()})


def without_hugepages(bench):
    """The programs, with a dataplane that is told to do without hugepages."""
    binaries = bench.directory / "ordinary"
    binaries.mkdir()
    for program in ("sluice", "sluice-control"):
        shutil.copy2(bench.binaries / program, binaries)
    dataplane = binaries / "sluice-dataplane"
    dataplane.write_text(f'#!/bin/sh\nexec {bench.binaries}/sluice-dataplane --no-huge "$@"\n')
    dataplane.chmod(0o755)
    return binaries


def pages(bench):
    """Hugepages and ordinary ones."""
    device, ordinary = bench.pcap(), without_hugepages(bench)
    with Hugepages(PAGES * 2):
        costs, _ = bench.measured([
            lambda: bench.testpmd([device, SINK], "macswap on hugepages"),
            lambda: bench.testpmd([device, SINK], "macswap on ordinary pages", huge=False),
            lambda: bench.sluice(device, "hugepages"),
            lambda: bench.sluice(device, "ordinary pages", binaries=ordinary),
        ])
    rows = [
        Row("testpmd macswap, ordinary pages", costs.text("macswap on ordinary pages"), "", costs.ratio("macswap on ordinary pages", "macswap on hugepages")),
        Row("1k flows, ordinary pages", costs.text("ordinary pages"), "<= 2 x hugepages", costs.ratio("ordinary pages", "hugepages"), 2),
    ]
    return Found(rows, {"pages": costs.kept()})


def cores(bench):
    """Two workers on two queues. The second has the core that everything else is on: what counts is
    packets in a second of both workers' own time. Two cores of a virtual machine may be two threads of
    one: two routers that share nothing show what both of them can do at most."""
    own, other = bench.core, bench.main_core
    hashed, unhashed = bench.flows(rss=1), bench.flows()

    def one(name, core):
        return bench.sluice(GENERATED, name, environment=hashed, cores=(core,))

    def two(name, environment):
        return bench.sluice(GENERATED, name, environment=environment, cores=(own, other), queues=2)

    with Hugepages(PAGES * 5):
        costs, _ = bench.measured([
            lambda: one("one worker", own),
            lambda: Together("two routers", one("first of two", own), one("second of two", other)),
            lambda: two("two workers", hashed),
            lambda: two("handed over", unhashed),
        ])
    rows = [
        Row("two routers of one worker each", costs.text("two routers"), ratio=costs.ratio("one worker", "two routers")),
        Row("two workers on two queues", costs.text("two workers"), ">= 1.8 x one", costs.ratio("one worker", "two workers"), 1.8, least=True),
        Row("... that do not hash: half is handed over", costs.text("handed over"), ratio=costs.ratio("one worker", "handed over")),
    ]
    return Found(rows, {"cores": costs.kept()})
