#!/usr/bin/python3
"""The standing set: what a packet costs in Sluice, workload by workload, beside its peers and goals.

One table of ratios, measured in this run: rounds of short windows are interleaved, medians count.
The forwarder's worker has one core, everything else the other. Hugepages are reserved and given back.
What was measured is kept as JSON under bench/results, and drawn.

    make bench                       # or: bench/standing.py --only flows,policy --rounds 9
"""

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contenders import ROOT
from device_groups import Bench, churn, cores, flows, known, pages, policy
from wire_groups import commit, latency, veth
from wires import version

GROUPS = {
    "known": known, "flows": flows, "policy": policy, "churn": churn, "pages": pages, "cores": cores,
    "latency": latency, "commit": commit, "veth": veth,
}
# Groups whose generator needs a core beside the forwarder's.
WIRES = ("latency", "commit", "veth")


def machine():
    """What the figures were measured on."""
    cpu = next(line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": round(int(memory) / 2**20), "kernel": os.uname().release}


def versions():
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return {
        "sources": commit,  # what `make bench` builds; --binaries may be of others
        "dpdk": version(["pkg-config", "--modversion", "libdpdk"], r"[\d.]+"),
        "nftables": version(["nft", "--version"], r"v[\d.]+"),
    }


def table(rows):
    """The rows as text, one line each."""
    lines = [f"{'workload':<52} {'measured':>16}  {'ratio':>6}  {'goal':<28} verdict"]
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(f"{row['workload']:<52} {row['measured']:>16}  {ratio:>6}  {row['goal']:<28} {row['verdict']}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of one window each (at least 5 for figures that count)")
    parser.add_argument("--core", type=int, default=1, help="core of the worker")
    parser.add_argument("--main-core", type=int, default=0, help="core of the generator and of everything else")
    parser.add_argument("--binaries", default=ROOT / "target/release", help="where the programs are")
    parser.add_argument("--only", default=",".join(GROUPS), help="groups, of " + ", ".join(GROUPS))
    parser.add_argument("--results", default=ROOT / "bench/results", help="where the JSON goes")
    parser.add_argument("--plots", help="where plots go; none are drawn unless given")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench: hugepages can only be reserved by root")
    unknown = set(options.only.split(",")) - set(GROUPS)
    if unknown:
        sys.exit(f"bench: there is no group {', '.join(sorted(unknown))}; known are {', '.join(GROUPS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    started = time.monotonic()
    rows, series, loads = [], {}, {}
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as directory:
        bench = Bench(options, directory)
        for name in options.only.split(","):
            since, load = time.monotonic(), os.getloadavg()[0]
            loads[name] = round(load, 1)
            found = GROUPS[name](bench)
            if name in WIRES and load > os.cpu_count():
                # Both ends need a core all the time: what others do to one of them is in every figure.
                for row in found.rows:
                    row.unsettled = f"load {load:.0f}"
            rows += [row.as_dict() for row in found.rows]
            series.update(found.series)
            for row in found.rows:
                print(table([row.as_dict()]).splitlines()[1], flush=True)
            print(f"  ({name}: {time.monotonic() - since:.0f} s)", file=sys.stderr, flush=True)
    minutes = (time.monotonic() - started) / 60
    now = datetime.datetime.now(datetime.UTC)
    result = {
        "date": now.isoformat(timespec="seconds"), "machine": machine(), "versions": versions(), "rounds": options.rounds,
        "load": loads, "minutes": round(minutes, 1), "rows": rows, "series": series,
    }
    Path(options.results).mkdir(parents=True, exist_ok=True)
    kept = Path(options.results) / f"{now:%Y-%m-%d-%H%M}.json"
    kept.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{result['machine']['cpu']}, {result['machine']['cores']} cores; rounds: {options.rounds}; {minutes:.1f} minutes; kept as {kept}")
    print(table(rows))
    if options.plots:
        subprocess.run([Path(options.binaries) / "sluice-pktgen", "plot", kept, "--directory", options.plots], check=True)


if __name__ == "__main__":
    main()
