#!/usr/bin/python3
"""Packets a second without loss, and latency, over virtio-user: Sluice beside dpdk-testpmd.

`sluice-pktgen` on one core and the forwarder's worker on another, joined by two vhost-user sockets;
64-byte UDP, 1,024 flows. The rate is searched as in RFC 2544, at most one packet in 100,000 lost (the
machine may be shared), then latency is taken at 10, 50 and 90 % of it. testpmd forwards without
looking at a packet (`io`): what the devices themselves carry.

    make bench-throughput    # or: bench/throughput.py --time 5
"""

import argparse
import signal
import sys

from contenders import ROOT, Hugepages
from wires import over_sockets

CONTENDERS = {"testpmd io": lambda sockets: sockets.testpmd("io"), "sluice": lambda sockets: sockets.sluice()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", type=float, default=2, help="seconds of each trial")
    parser.add_argument("--core", type=int, default=1, help="core of the forwarder's worker")
    parser.add_argument("--main-core", type=int, default=0, help="core of the generator and all else")
    parser.add_argument("--binaries", default=ROOT / "target/release", help="where the programs are")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    search = ("search", "--time", str(options.time), "--loss", "0.00001", "--attempts", "3")
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
