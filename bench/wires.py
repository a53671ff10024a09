"""Forwarders between two wires that a generator holds the other ends of: vhost-user sockets or veth."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contenders import ROOT

ROUTER = "02:00:00:00:00:01"
HOST = "02:00:00:00:00:42"
# Of a socket's flags in /proc/net/unix: it is listened at.
LISTENS = 0x10000


class Generator:
    """`sluice-pktgen` on two devices of its own; `before` is what the command starts with."""

    def __init__(self, binaries, core, tx, rx, *command, before=(), router=ROUTER):
        self.process = subprocess.Popen(
            [*before, Path(binaries) / "sluice-pktgen", "--json", "--core", str(core), "--router", router,
             "--tx", tx, "--rx", rx, *command],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result(self, timeout=600):
        """What it measured, by name."""
        out, err = self.process.communicate(timeout=timeout)
        if self.process.returncode:
            sys.exit(f"bench: {err}")
        return {row["name"]: row for row in json.loads(out)}

    def close(self):
        self.process.kill()
        self.process.wait()


class Forwarder:
    """A process between the wires."""

    log = None

    def __init__(self, name, command, log):
        self.name = name
        self.log = open(log, "w+")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self.log, stderr=self.log)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def testpmd(directory, mode, devices, core, main_core, memory, before=(), more=()):
    """testpmd over these devices, forwarding at once."""
    command = [
        *before, "dpdk-testpmd", "-l", f"{main_core},{core}", "--no-pci", "-m", "256", "--no-telemetry",
        f"--file-prefix=bench-{os.getpid()}", *memory, *(f"--vdev={device}" for device in devices),
        "--", f"--forward-mode={mode}", "--burst=64", *more]
    return Forwarder(f"testpmd {mode}", command, Path(directory) / "testpmd.log")


class SluiceForwarder(Forwarder):
    """`sluice up` with a configuration."""

    def __init__(self, directory, binaries, configuration, before=()):
        self.program = Path(binaries) / "sluice"
        self.dir = Path(directory) / "run"
        self.config = Path(directory) / "sluice.yaml"
        self.config.write_text(configuration)
        self.before = before
        super().__init__("sluice", [*before, self.program, "up", "-c", self.config, "--dir", self.dir], Path(directory) / "sluice.log")

    def run(self, *command):
        """Runs a command of `sluice`; whether it succeeded."""
        return subprocess.run([self.program, "--dir", self.dir, *command], capture_output=True, text=True).returncode == 0

    def ready(self, patience=20):
        """Waits until it forwards."""
        deadline = time.monotonic() + patience
        while not re.search(r"ready, \d+ port", Path(self.log.name).read_text()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: sluice did not start: {Path(self.log.name).read_text()}")
            time.sleep(0.02)
        return self


class Sockets:
    """Two vhost-user sockets, which the generator makes and the forwarder connects to. `rings` are the
    descriptors of the ring that leads in and of the one that leads out."""

    def __init__(self, binaries, directory, core=1, main_core=0, rings=(1024, 1024)):
        self.binaries, self.directory, self.core, self.main_core = binaries, Path(directory), core, main_core
        self.paths = [self.directory / name for name in ("in", "out")]
        self.rings = rings

    def listening(self):
        """Whether somebody listens at both sockets. One that is there and not listened at yet refuses who
        connects, and the forwarder gives up."""
        rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
        paths = {row[7] for row in rows if len(row) > 7 and int(row[3], 16) & LISTENS}
        return all(str(path) in paths for path in self.paths)

    def generator(self, *command):
        """The generator, as soon as it listens at both sockets."""
        generator = Generator(
            self.binaries, self.main_core, f"net_vhost0,iface={self.paths[0]}", f"net_vhost1,iface={self.paths[1]}", *command)
        for _ in range(400):
            if self.listening():
                return generator
            if generator.process.poll() is not None:
                break
            time.sleep(0.05)
        generator.process.kill()
        sys.exit(f"bench: sluice-pktgen did not start: {generator.process.stderr.read()}")

    def devices(self):
        return [f"net_virtio_user{n},path={path},queue_size={ring}" for n, (path, ring) in enumerate(zip(self.paths, self.rings))]

    def testpmd(self, mode):
        memory = ("--in-memory", "--single-file-segments", "--iova-mode=va")
        return testpmd(self.directory, mode, self.devices(), self.core, self.main_core, memory, more=("--txd=1024", "--rxd=1024"))

    def sluice(self, more=""):
        into, out = self.devices()
        return SluiceForwarder(self.directory, self.binaries, router(self.core, f"{into}", f"{out}", more, mac=ROUTER))


def over_sockets(bench, forwarder, *command, meanwhile=None):
    """What the generator measures with a forwarder at the other end of two sockets: `forwarder` starts
    it, `meanwhile` is called with it and the generator. `bench` says which binaries and cores."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as directory:
        sockets = Sockets(bench.binaries, directory, bench.core, bench.main_core)
        generator = sockets.generator(*command)
        other = None
        try:
            other = forwarder(sockets)
            if meanwhile:
                meanwhile(other, generator)
            return generator.result()
        finally:
            generator.close()
            if other:
                other.close()


def router(core, into, out, more="", mac=None):
    """A router between two devices; a file for `sluice up`."""
    own = f'mac: "{mac}", ' if mac else ""
    return (
        f"dataplane: {{ cores: [{core}], memory: 256 }}\n"
        "ports:\n"
        f'  in: {{ device: "{into}", {own}addresses: [10.0.1.1/24] }}\n'
        f'  out: {{ device: "{out}", addresses: [10.0.2.1/24] }}\n'
        "routes: [ { to: 10.1.0.0/16, via: 10.0.2.2 } ]\n"
        f'neighbours: [ {{ interface: out, address: 10.0.2.2, mac: "{HOST}" }} ]\n') + more


class Cables:
    """Two veth cables between a namespace of the generator and one of the forwarder."""

    def __init__(self, binaries, directory, core=1, main_core=0):
        self.binaries, self.directory, self.core, self.main_core = binaries, Path(directory), core, main_core
        self.names = [f"sluice-bench-{os.getpid()}-{end}" for end in ("gen", "router")]

    def __enter__(self):
        try:
            for name in self.names:
                subprocess.run(["ip", "netns", "add", name], check=True)
            generator, forwarder = self.names
            for n in range(2):
                ip("-n", generator, "link", "add", f"g{n}", "type", "veth", "peer", "name", f"r{n}", "netns", forwarder)
            for name, prefix in ((generator, "g"), (forwarder, "r")):
                self.quiet(name)
                for n in range(2):
                    ip("-n", name, "link", "set", f"{prefix}{n}", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)

    @staticmethod
    def quiet(name):
        """No frames of the kernel's own on the cables."""
        inside(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")

    def mac(self, interface):
        said = inside(self.names[1], "cat", f"/sys/class/net/{interface}/address")
        return said.strip()

    def generator(self, *command):
        return Generator(
            self.binaries, self.main_core, "net_af_packet0,iface=g0,framesz=2048,blocksz=4096,framecnt=4096,qdisc_bypass=1",
            "net_af_packet1,iface=g1,framesz=2048,blocksz=4096,framecnt=4096,qdisc_bypass=1", *command,
            before=self.inside(0), router=self.mac("r0"))

    def inside(self, n):
        return ("ip", "netns", "exec", self.names[n])

    def devices(self):
        return [f"net_af_packet{n},iface=r{n}" for n in range(2)]

    def testpmd(self, mode="macswap"):
        return testpmd(self.directory, mode, self.devices(), self.core, self.main_core, ("--in-memory",), before=self.inside(1))

    def sluice(self, more=""):
        into, out = self.devices()
        return SluiceForwarder(self.directory, self.binaries, router(self.core, into, out, more), before=self.inside(1))

    @contextlib.contextmanager
    def kernel(self, rules=None):
        """The kernel forwards, on the forwarder's core; `rules` are nftables'."""
        name = self.names[1]
        ip("-n", name, "addr", "add", "10.0.1.1/24", "dev", "r0")
        ip("-n", name, "addr", "add", "10.0.2.1/24", "dev", "r1")
        ip("-n", name, "neigh", "replace", "10.0.2.2", "lladdr", HOST, "dev", "r1")
        ip("-n", name, "neigh", "replace", "10.0.1.2", "lladdr", HOST, "dev", "r0")
        ip("-n", name, "route", "replace", "10.1.0.0/16", "via", "10.0.2.2")
        inside(name, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        inside(name, "sh", "-c", f"echo {1 << self.core:x} > /sys/class/net/r0/queues/rx-0/rps_cpus")
        if rules:
            inside(name, "nft", "-f", "-", text=rules)
        try:
            yield
        finally:
            if rules:
                inside(name, "nft", "flush", "ruleset")
            inside(name, "sysctl", "-qw", "net.ipv4.ip_forward=0")
            inside(name, "sh", "-c", "echo 0 > /sys/class/net/r0/queues/rx-0/rps_cpus")
            for n in range(2):
                ip("-n", name, "addr", "flush", "dev", f"r{n}")

    @contextlib.contextmanager
    def xdp(self):
        """The kernel's table by XDP (forward_xdp.c), on the forwarder's core."""
        program = self.directory / "forward_xdp.o"
        if not program.exists():
            include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
            command = ["clang", "-O2", "-g", "-target", "bpf", include, "-c", ROOT / "bench/forward_xdp.c", "-o", program]
            subprocess.run(command, check=True)
        name = self.names[1]
        inside(self.names[0], "ethtool", "-K", "g1", "gro", "on")  # or XDP cannot send to it
        with self.kernel():
            inside(name, "ip", "link", "set", "dev", "r0", "xdpdrv", "obj", str(program), "sec", "xdp")
            try:
                inside(name, "sh", "-c", "echo 1 > /sys/class/net/r0/threaded")
                for comm in Path("/proc").glob("[0-9]*/comm"):
                    with contextlib.suppress(OSError):
                        if comm.read_text().startswith("napi/r0"):
                            os.sched_setaffinity(int(comm.parent.name), {self.core})
                            os.setpriority(os.PRIO_PROCESS, int(comm.parent.name), os.getpriority(os.PRIO_PROCESS, 0))
                yield
            finally:
                inside(name, "ip", "link", "set", "dev", "r0", "xdpdrv", "off")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def inside(name, *command, text=None):
    """What a command prints in a namespace."""
    done = subprocess.run(["ip", "netns", "exec", name, *command], input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench: {' '.join(command)}: {done.stderr}")
    return done.stdout


def rate(row):
    """Packets a second that came back."""
    return (row["sent"] - row["lost"]) / row["sent"] * row["rate"] if row["sent"] else 0.0


def version(command, pattern):
    """What a program says it is, if it is there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except OSError:
        return None
    found = re.search(pattern, done.stdout + done.stderr)
    return found[0] if found else None
