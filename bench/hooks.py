#!/usr/bin/python3
"""What a hook costs before it does something: ns per packet, in one run.

The same packets, devices and rounds as `bench/io.py`. Beside testpmd and Sluice as it is, Sluice
with a hook at FORWARDING that lets everything pass: one that is called with a burst, one that is
called with each packet, two in C, the two useful ones of the examples, and two programs in the
sandbox: an empty one, and one that reads the five-tuple and counts.

    make bench-hooks         # or: bench/hooks.py --rounds 9
"""

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from contenders import ROOT, Hugepages, Sluice, Testpmd, interleaved
from workloads import FLOWS, SINK, configuration, flows_pcap, pcap_device, routes

HOOKS = {
    "an empty burst hook": "{ program: pass-burst, event: forwarding }",
    "an empty packet hook": "{ program: pass-packet, event: forwarding }",
    "an empty hook in C": "{ file: OBJECTS/pass.so, event: forwarding }",
    "an empty burst hook in C": "{ file: OBJECTS/pass_burst.so, event: forwarding }",
    "syn-limit": "{ program: syn-limit, event: forwarding }",
    "dscp-mark": "{ program: dscp-mark, event: forwarding }",
    "an empty program": "{ file: PROGRAMS/pass.o, event: forwarding }",
    "a counting program": "{ file: PROGRAMS/count.o, event: forwarding }",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of one window each (at least 5)")
    parser.add_argument("--core", type=int, default=1, help="core that all workers share")
    parser.add_argument("--main-core", type=int, default=0, help="core for everything else")
    parser.add_argument("--binaries", default=ROOT / "target/release", help="where the programs are")
    parser.add_argument("--programs", default=ROOT / "target/bpf", type=lambda path: Path(path).resolve(), help="where `make bpf` put them")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    contenders = []
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as directory, Hugepages(1280 + 640 * len(HOOKS)):
        pcap = Path(directory) / "flows.pcap"
        flows_pcap(pcap, FLOWS)
        device = pcap_device(0, pcap)
        for name in ("pass", "pass_burst"):
            command = ["cc", "-O2", "-shared", "-fPIC", "-I", ROOT / "include", "-o", Path(directory) / f"{name}.so"]
            subprocess.run([*command, ROOT / f"examples/c/{name}.c"], check=True)
        try:
            contenders.append(Testpmd("macswap", [device, SINK], (options.core,), options.main_core))
            text = configuration(device, cores=(options.core,), more=routes())
            contenders.append(Sluice(directory, text, options.binaries, "no hook"))
            for name, hook in HOOKS.items():
                hook = hook.replace("OBJECTS", str(directory)).replace("PROGRAMS", str(options.programs))
                also = f"hooks: {{ measured: {hook} }}\n"
                contenders.append(Sluice(directory, text + also, options.binaries, name))
            costs = interleaved(contenders, max(options.rounds, 5))
        finally:
            for contender in contenders:
                contender.close()
    floor, none = (statistics.median(costs[name]) for name in ("testpmd macswap", "no hook"))
    print(f"64-byte UDP/IPv4, {FLOWS} flows, one core, hugepages, {max(options.rounds, 5)} rounds")
    print(f"{'at FORWARDING':<22} {'ns/packet':>10} {'the hook':>10} {'x macswap':>10}")
    for name, all_ in costs.items():
        ns = statistics.median(all_)
        print(f"{name:<22} {ns:>10.1f} {ns - none:>10.1f} {ns / floor:>10.2f}")


if __name__ == "__main__":
    main()
