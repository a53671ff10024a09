#!/usr/bin/python3
"""Packets a second without loss, and latency, over virtio-user: Sluice beside dpdk-testpmd.

`sluice-pktgen` on one core and the forwarder's worker on another, joined by two vhost-user sockets;
64-byte UDP, 1,024 flows. The rate is searched as in RFC 2544, at most one packet in 100,000 lost (the
machine may be shared), then latency is taken at 10, 50 and 90 % of it. testpmd forwards without
looking at a packet (`io`): what the devices themselves carry.

With --hooks, hooks of all three kinds are loaded and unloaded under traffic, over and over. The generator
shares its core with the commands and the control process, and cannot see to its rings while they run; so
the rate without loss is searched while as many commands only ask (`show hooks`), and 90 % of that rate is
offered, first beside questions, then beside hooks that come and go.

    make bench-throughput    # or: bench/throughput.py --time 5
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contenders import ROOT, Hugepages
from wires import over_sockets

# Entries of the rings between the two while hooks come and go.
RING = 4096
# Seconds between two commands.
PAUSE = 0.01
CONTENDERS = {"testpmd io": lambda sockets: sockets.testpmd("io"), "sluice": lambda sockets: sockets.sluice()}


class Commands:
    """Commands that are given while the generator runs, in pairs; counts the pairs that succeeded."""

    def __init__(self, pairs):
        self.pairs, self.count = pairs, 0

    def __call__(self, sluice, generator):
        sluice.ready()
        while generator.process.poll() is None:
            pair = self.pairs[self.count % len(self.pairs)]
            if not all(self.give(sluice, command) for command in pair) and generator.process.poll() is None:
                sys.exit(f"bench: one of these failed: {pair}")
            self.count += 1

    @staticmethod
    def give(sluice, command):
        time.sleep(PAUSE)
        return sluice.run(*command)


def questions():
    return Commands([(("show", "hooks"), ("show", "hooks"))])


def hooks(directory, programs):
    """Loads and unloads: two hooks in Rust, one in C, one in the sandbox."""
    shared = Path(directory) / "pass.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-I", ROOT / "include", "-o", shared, ROOT / "examples/c/pass.c"], check=True)
    named = {"pass-burst": "pass-burst", "pass-packet": "pass-packet", shared: "pass", Path(programs) / "pass.o": "pass"}
    return Commands([(("hook", "load", what, "--event", "forwarding"), ("hook", "unload", name)) for what, name in named.items()])


def come_and_go(options):
    """What is lost while hooks come and go, beside what is lost while nothing does."""
    def traffic(*command, meanwhile):
        return over_sockets(options, CONTENDERS["sluice"], *command, meanwhile=meanwhile, ring=RING)

    found = traffic("search", "--time", str(options.time), "--loss", "0", "--attempts", "3", meanwhile=questions())["found"]["rate"]
    print(f"without loss beside questions: {found:.0f} packets/s")
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as directory:
        for name, commands in (("asked", questions()), ("loaded and unloaded", hooks(directory, options.programs))):
            row = traffic("run", "--rate", str(0.9 * found), "--time", str(options.hooks), meanwhile=commands)["run"]
            print(f"{name} {commands.count} times: {row['sent']} packets at {row['rate']:.0f}/s, {row['lost']} lost, {row['disordered']} out of order")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", type=float, default=2, help="seconds of each trial")
    parser.add_argument("--core", type=int, default=1, help="core of the forwarder's worker")
    parser.add_argument("--main-core", type=int, default=0, help="core of the generator and all else")
    parser.add_argument("--binaries", default=ROOT / "target/release", help="where the programs are")
    parser.add_argument("--hooks", type=float, metavar="SECONDS", help="load and unload hooks for so long, and do nothing else")
    parser.add_argument("--programs", default=ROOT / "target/bpf", type=lambda path: Path(path).resolve(), help="where `make bpf` put them")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    search = ("search", "--time", str(options.time), "--loss", "0.00001", "--attempts", "3")
    if options.hooks:
        with Hugepages(1280):
            return come_and_go(options)
    with Hugepages(1024):
        found = {name: over_sockets(options, CONTENDERS[name], *search) for name in CONTENDERS}
        floor = found["testpmd io"]
        print(f"{'':<12} {'packets/s':>12} {'x testpmd':>10}   p50 and p99 at 10, 50, 90 % of the rate, µs")
        for name, rows in found.items():
            times = ("10 %", "50 %", "90 %")
            latency = "   ".join("{:6.1f} {:7.1f}".format(*(rows[at]["latency"][p] / 1000 for p in ("p50", "p99"))) for at in times)
            print(f"{name:<12} {rows['found']['rate']:>12.0f} {rows['found']['rate'] / floor['found']['rate']:>10.2f}   {latency}")


if __name__ == "__main__":
    main()
