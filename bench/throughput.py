#!/usr/bin/python3
"""Packets a second without loss, and latency, over virtio-user: Sluice beside dpdk-testpmd.

`sluice-pktgen` on one core and the forwarder's worker on another, joined by two vhost-user sockets;
64-byte UDP, 1,024 flows. The rate is searched as in RFC 2544, at most one packet in 100,000 lost (the
machine may be shared), then latency is taken at 10, 50 and 90 % of it. testpmd forwards without
looking at a packet (`io`): what the devices themselves carry.

With --hooks, hooks are loaded and unloaded at 90 % of the found rate, over and over, and what was lost
in that time is told beside the loss of a quiet run of the same length.

    make bench-throughput    # or: bench/throughput.py --time 5
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contenders import ROOT, Hugepages

ROUTER = "02:00:00:00:00:01"
HOOKS = ("pass-burst", "pass-packet", "syn-limit")


class Generator:
    """`sluice-pktgen` over two sockets, which it makes."""

    def __init__(self, options, directory, *command):
        self.sockets = [Path(directory) / name for name in ("in", "out")]
        self.process = subprocess.Popen(
            [Path(options.binaries) / "sluice-pktgen", "--json", "--core", str(options.main_core), "--router", ROUTER,
             "--tx", f"net_vhost0,iface={self.sockets[0]}", "--rx", f"net_vhost1,iface={self.sockets[1]}", *command],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(200):
            if all(socket.exists() for socket in self.sockets):
                return
            time.sleep(0.05)
        self.process.kill()
        sys.exit(f"bench: sluice-pktgen did not start: {self.process.stderr.read()}")

    def result(self, timeout):
        out, err = self.process.communicate(timeout=timeout)
        if self.process.returncode:
            sys.exit(f"bench: {err}")
        return {row["name"]: row for row in json.loads(out)}


class Testpmd:
    name = "testpmd io"

    def __init__(self, options, directory, sockets):
        devices = [f"--vdev=net_virtio_user{n},path={path},queue_size=1024" for n, path in enumerate(sockets)]
        self.process = subprocess.Popen(
            ["dpdk-testpmd", "-l", f"{options.main_core},{options.core}", "--no-pci", "-m", "256", f"--file-prefix=bench-{os.getpid()}",
             "--no-telemetry", "--in-memory", "--single-file-segments", "--iova-mode=va", *devices, "--", "--forward-mode=io", "--burst=64", "--txd=1024", "--rxd=1024"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self):
        self.process.kill()
        self.process.wait()


class Sluice:
    name = "sluice"

    def __init__(self, options, directory, sockets):
        self.sluice = Path(options.binaries) / "sluice"
        self.dir = Path(directory) / "run"
        config = Path(directory) / "sluice.yaml"
        config.write_text(
            f"dataplane: {{ cores: [{options.core}], memory: 256 }}\n"
            "ports:\n"
            f'  in: {{ device: "net_virtio_user0,path={sockets[0]},queue_size=1024", mac: "{ROUTER}", addresses: [10.0.1.1/24] }}\n'
            f'  out: {{ device: "net_virtio_user1,path={sockets[1]},queue_size=1024", addresses: [10.0.2.1/24] }}\n'
            "routes: [ { to: 10.1.0.0/16, via: 10.0.2.2 } ]\n"
            'neighbours: [ { interface: out, address: 10.0.2.2, mac: "02:00:00:00:00:42" } ]\n')
        self.log = open(Path(directory) / "sluice.log", "w")
        self.process = subprocess.Popen([self.sluice, "up", "-c", config, "--dir", self.dir], stdout=self.log, stderr=self.log)

    def hook(self, *command):
        return subprocess.run([self.sluice, "--dir", self.dir, "hook", *command], capture_output=True, text=True).returncode == 0

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()


def measured(options, contender, *command, timeout=600, meanwhile=None):
    """What the generator finds with one contender at the other end."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as directory:
        generator = Generator(options, directory, *command)
        other = contender(options, directory, generator.sockets)
        try:
            if meanwhile:
                meanwhile(other, generator)
            return generator.result(timeout)
        finally:
            generator.process.kill()
            other.close()


def come_and_go(turns):
    """Loads and unloads hooks while the generator runs; `turns` counts how often."""

    def act(sluice, generator):
        while generator.process.poll() is None:
            hook = HOOKS[turns[0] % len(HOOKS)]
            if sluice.hook("load", hook, "--event", "forwarding") and sluice.hook("unload", hook):
                turns[0] += 1
    return act


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", type=float, default=2, help="seconds of each trial")
    parser.add_argument("--core", type=int, default=1, help="core of the forwarder's worker")
    parser.add_argument("--main-core", type=int, default=0, help="core of the generator and all else")
    parser.add_argument("--binaries", default=ROOT / "target/release", help="where the programs are")
    parser.add_argument("--hooks", type=float, metavar="SECONDS", help="load and unload hooks for so long too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    search = ("search", "--time", str(options.time), "--loss", "0.00001", "--attempts", "3")
    with Hugepages(1024):
        found = {contender.name: measured(options, contender, *search) for contender in (Testpmd, Sluice)}
        floor = found["testpmd io"]
        print(f"{'':<12} {'packets/s':>12} {'x testpmd':>10}   p50 and p99 at 10, 50, 90 % of the rate, µs")
        for name, rows in found.items():
            times = ("10 %", "50 %", "90 %")
            latency = "   ".join("{:6.1f} {:7.1f}".format(*(rows[at]["latency"][p] / 1000 for p in ("p50", "p99"))) for at in times)
            print(f"{name:<12} {rows['found']['rate']:>12.0f} {rows['found']['rate'] / floor['found']['rate']:>10.2f}   {latency}")
        if options.hooks:
            rate = 0.9 * found["sluice"]["found"]["rate"]
            run = ("run", "--rate", str(rate), "--time", str(options.hooks))
            turns = [0]
            for name, meanwhile in (("quiet", None), ("hooks", come_and_go(turns))):
                row = measured(options, Sluice, *run, meanwhile=meanwhile)["run"]
                what = f", {turns[0]} hooks loaded and unloaded" if meanwhile else ""
                print(f"{name}: {row['sent']} packets at {row['rate']:.0f}/s, {row['lost']} lost, {row['disordered']} out of order{what}")


if __name__ == "__main__":
    main()
