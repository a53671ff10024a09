#!/usr/bin/python3
"""Hooks that come and go under load: what does a thousand loads and unloads of each kind cost in packets?

`sluice-pktgen` on one core and Sluice's worker on another, joined by two vhost-user sockets; 64-byte UDP,
1,024 flows. The rate without loss is searched while one process asks for the hooks over the control
socket, so many times a second, and lowered until nothing is lost in as long a time as a thousand loads take.
At 90 % of that rate, the same process then loads and unloads a hook as often: in Rust, in C, in the sandbox.

Everything but the worker shares the generator's core. So that none of it keeps the generator from its
ports, the generator has real-time priority and leaves the core to the others for a part of each millisecond.
What is lost all the same is told by where it was lost.

    make bench-hook-changes    # or: bench/hook_changes.py --turns 100
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contenders import ROOT, Hugepages
from wires import Sockets

sys.path.insert(0, str(ROOT / "tests"))

from lab import Control  # noqa: E402

# Descriptors of the ring that leads in and of the one that leads out. When the worker's core is taken away for
# milliseconds, which happens to virtual machines, the one that leads in fills up; what waits there has to fit
# into the other while the generator sleeps.
RINGS = (256, 1024)
# Of a rate that lost something, what is tried next.
LOWER = 0.5
# Kinds of hooks, by what is loaded.
KINDS = {"Rust": "pass-packet", "C": "pass.so", "sandbox": "pass.o"}


class Asked:
    """What is asked of Sluice while the generator runs: so many turns, two requests each."""

    def __init__(self, program=None, turns=None):
        self.program, self.turns, self.done, self.seconds = program, turns, 0, 0.0

    def turn(self, control):
        if self.program is None:
            control.get("/v1/hooks")
            control.get("/v1/hooks")
            return
        control.post("/v1/hooks", {"name": "measured", "program": str(self.program), "event": "forwarding"})
        control.request("DELETE", "/v1/hooks?name=measured")

    def ask(self, control, generator, pace):
        """Turns, `pace` of them a second at most, until there were enough or the generator is done."""
        started = time.monotonic()
        while generator.poll() is None and self.done != self.turns:
            self.turn(control)
            self.done += 1
            time.sleep(max(0.0, started + self.done / pace - time.monotonic()))
        self.seconds = time.monotonic() - started


def measured(bench, asked, *command):
    """What the generator tells of a command, and Sluice of where packets went, while it is asked."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", dir="/dev/shm") as directory:
        os.sched_setaffinity(0, bench.cores)  # what is started inherits it, and takes the worker's core
        os.environ["SLUICE_STATE"] = f"{directory}/state"
        sockets = Sockets(bench.binaries, directory, bench.core, bench.main_core, RINGS)
        generator = sockets.generator("--nap", str(bench.nap), *command)
        sluice = None
        try:
            sluice = sockets.sluice().ready()
            ahead(generator.process.pid)
            keep_to(bench.main_core, sluice.process.pid)
            with Control(sluice.dir).closing() as control:
                asked.ask(control, generator.process, bench.pace)
                rows = generator.result()
                return rows, control.get("/v1/stats"), control.get("/v1/drops")
        finally:
            generator.close()
            if sluice:
                sluice.close()


def ahead(process):
    """Gives the generator priority over all that shares its core."""
    try:
        os.sched_setscheduler(process, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        os.setpriority(os.PRIO_PROCESS, process, -20)


def keep_to(core, process):
    """Keeps a process, its children and this one off the worker's core, the workers aside."""
    children = (path for path in Path("/proc").glob("[0-9]*/stat") if parent(path) == process)
    for pid in (os.getpid(), process, *(int(path.parent.name) for path in children)):
        for task in Path(f"/proc/{pid}/task").iterdir():
            if not (task / "comm").read_text().startswith("worker"):
                os.sched_setaffinity(int(task.name), {core})


def parent(stat):
    """The process whose child this one is."""
    try:
        return int(stat.read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def where(stats, drops):
    """Where packets were lost: by Sluice's reasons (`tx-refused`: the generator's ring was full), or on the way in."""
    told = {"missed": sum(port["missed"] for port in stats["ports"])}
    told.update((drop["reason"], drop["packets"]) for drop in drops)
    return ", ".join(f"{count} {reason}" for reason, count in told.items() if count) or "nowhere"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1000, help="loads and unloads of each kind")
    parser.add_argument("--pace", type=float, default=25, help="loads and unloads a second")
    parser.add_argument("--nap", type=int, default=300, help="microseconds of each millisecond that the generator leaves to others")
    parser.add_argument("--rate", type=float, help="packets a second without loss; searched unless given")
    parser.add_argument("--core", type=int, default=1, help="core of Sluice's worker")
    parser.add_argument("--main-core", type=int, default=0, help="core of the generator and all else")
    parser.add_argument("--binaries", default=ROOT / "target/release", type=lambda path: Path(path).resolve(), help="where the programs are")
    parser.add_argument("--programs", default=ROOT / "target/bpf", type=lambda path: Path(path).resolve(), help="where `make bpf` put them")
    options = parser.parse_args()
    options.cores = os.sched_getaffinity(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as directory, Hugepages(1280):
        shared = Path(directory) / KINDS["C"]
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-I", ROOT / "include", "-o", shared, ROOT / "examples/c/pass.c"], check=True)
        programs = {"Rust": KINDS["Rust"], "C": shared, "sandbox": options.programs / KINDS["sandbox"]}
        rate = options.rate or without_loss(options)
        sys.exit(0 if all([come_and_go(options, programs[kind], rate, kind) for kind in programs]) else 1)


def without_loss(options):
    """The rate at which nothing is lost while hooks are only asked for, as long as loading them takes."""
    rows, _, _ = measured(options, Asked(), "search", "--time", "2", "--attempts", "3")
    rate = rows["found"]["rate"]
    while not run(options, Asked(turns=options.turns), rate, "asked for hooks"):
        rate *= LOWER
    return rate


def come_and_go(options, program, rate, kind):
    """One kind of hook at 90 % of the rate; whether all was done and nothing lost."""
    return run(options, Asked(program, options.turns), 0.9 * rate, f"{kind} hooks loaded and unloaded")


def run(options, asked, rate, what):
    """Traffic while something is asked; whether all was done and nothing lost."""
    seconds = options.turns / options.pace * 1.2 + 2
    rows, stats, drops = measured(options, asked, "run", "--rate", str(rate), "--time", str(seconds))
    row = rows["run"]
    print(
        f"{asked.done} times {what} in {asked.seconds:.0f} s: {row['sent']} packets at {row['rate']:.0f}/s, {row['lost']} lost, "
        f"{row['disordered']} out of order\n"
        f"    lost: {where(stats, drops)}\n"
        f"    not sent for want of room: {row['refused']}; the generator stood still for {row['still'] / 1000:.0f} µs at most",
        flush=True)
    return asked.done == options.turns and row["lost"] == 0 and row["disordered"] == 0


if __name__ == "__main__":
    main()
