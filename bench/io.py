#!/usr/bin/python3
"""Cost of a packet through the whole IPv4 pipeline, beside dpdk-testpmd on the same devices.

One worker core; 64-byte UDP, 1,024 flows; in from net_pcap (infinite_rx: allocate, copy 64 bytes),
out to net_null (free). Sluice and testpmd (`io` and `macswap`) are started together on the same
core and stopped with SIGSTOP; each runs alone for a short window in turn, so that whatever else the
machine does hits all of them alike. The rate is packets per CPU second of the worker thread.

Hugepages are reserved for the run and given back. What counts is the ratio, not the nanoseconds.

    make bench-io            # or: bench/io.py --rounds 9 --filters
"""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
from pathlib import Path

from contenders import ROOT, Hugepages, Sluice, Testpmd, interleaved
from workloads import FLOWS, SINK, configuration, flows_pcap, pcap_device, routes

FILTERS = """
filters:
  ingress:
    default: accept
    rules:
      - { name: spoofed, source: 192.0.2.0/24, action: drop }
      - { name: no-telnet, protocol: tcp, destination-port: 23, action: drop }
  forward:
    default: accept
    rules:
      - { name: no-smtp, protocol: tcp, destination-port: 25, action: drop }
      - { name: no-netbios, protocol: udp, destination-port: "137-139", action: drop }
  egress:
    default: accept
    rules:
      - { name: no-leaks, destination: 198.51.100.0/24, action: drop }
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of one window each (at least 5)")
    parser.add_argument("--core", type=int, default=1, help="core that all workers share")
    parser.add_argument("--main-core", type=int, default=0, help="core for everything else")
    parser.add_argument("--binaries", default=ROOT / "target/release", help="where the programs are")
    parser.add_argument("--no-filters", action="store_true", help="leave out the run with filters")
    parser.add_argument("--stages", action="store_true", help="print clocks per packet by stage too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench: hugepages can only be reserved by root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    contenders = []
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as directory, Hugepages():
        pcap = Path(directory) / "flows.pcap"
        flows_pcap(pcap, FLOWS)
        device = pcap_device(0, pcap)
        try:
            for mode in ("io", "macswap"):
                contenders.append(Testpmd(mode, [device, SINK], (options.core,), options.main_core))
            text = configuration(device, cores=(options.core,), more=routes())
            contenders.append(Sluice(directory, text, options.binaries))
            if not options.no_filters:
                contenders.append(Sluice(directory, text + FILTERS, options.binaries, "sluice + filters"))
            costs = interleaved(contenders, max(options.rounds, 5))
            stages = ""
            if options.stages:
                contenders[2].resume()
                stages = contenders[2].run("show", "pipeline")
        finally:
            for contender in contenders:
                contender.close()
    floor = statistics.median(costs["testpmd macswap"])
    best_floor = min(costs["testpmd macswap"])
    rows = [
        {"system": name, "ns": statistics.median(all_), "best": min(all_),
         "ratio": statistics.median(all_) / floor, "ratio_best": min(all_) / best_floor}
        for name, all_ in costs.items()
    ]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"64-byte UDP/IPv4, {FLOWS} flows, net_pcap -> net_null, one core, hugepages, {max(options.rounds, 5)} rounds")
    print(f"{'system':<18} {'ns/packet':>10} {'(best)':>8} {'x macswap':>10} {'(best)':>8}")
    for row in rows:
        print(f"{row['system']:<18} {row['ns']:>10.1f} {row['best']:>8.1f} {row['ratio']:>10.2f} {row['ratio_best']:>8.2f}")
    print(stages, end="")


if __name__ == "__main__":
    main()
