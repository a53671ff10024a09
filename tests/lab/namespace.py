"""Network namespaces, and the hosts that live in them."""

import contextlib
import ctypes
import fcntl
import json
import os
import re
import signal
import socket
import statistics
import struct
import subprocess
import time

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
# netdevice(7)
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


class Namespace:
    """A network namespace, made on construction and removed by `close`."""

    def __init__(self, name):
        self.name = name
        self._children = []
        self._closers = []
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.run("ip", "link", "set", "lo", "up")
        self.sysctl("net/ipv6/conf/default/accept_dad", 0)  # addresses are usable at once

    def close(self):
        """Ends whatever still runs in the namespace, then removes it."""
        for closer in reversed(self._closers):
            closer()
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)

    def at_close(self, closer):
        """Has `closer()` called before the namespace goes."""
        self._closers.append(closer)

    def pids(self):
        """Processes that live in the namespace."""
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def command(self, *argv):
        """The command line that runs `argv` in the namespace."""
        return ["ip", "netns", "exec", self.name, *map(str, argv)]

    def run(self, *argv, check=True, timeout=30):
        """Runs a program to its end; what it printed is in `.stdout` and `.stderr`."""
        done = subprocess.run(
            self.command(*argv),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{' '.join(map(str, argv))} in {self.name}: exit status {done.returncode}\n"
                f"{done.stdout}{done.stderr}"
            )
        return done

    def start(self, *argv, **options):
        """Starts a program that runs on; it ends with the namespace at the latest."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.DEVNULL)
        options.setdefault("stderr", subprocess.DEVNULL)
        child = subprocess.Popen(self.command(*argv), **options)
        self._children.append(child)
        return child

    @contextlib.contextmanager
    def captured(self, *expression, interface="eth0"):
        """Runs tcpdump while the `with` lasts; the list then holds the lines that it printed."""
        tcpdump = self.start(
            *("tcpdump", "-n", "-l", "--immediate-mode", "-i", interface, *expression),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in tcpdump.stderr:
            if "listening on" in line:
                break
        lines = []
        yield lines
        tcpdump.terminate()
        lines += tcpdump.communicate(timeout=5)[0].splitlines()

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is in the namespace; sockets that it makes stay there."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as there:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def mac(self, interface):
        """An interface's link address."""
        return self.link(interface)["address"]

    def link(self, interface):
        """What `ip link` says of an interface."""
        return json.loads(self.run("ip", "-j", "-d", "link", "show", "dev", interface).stdout)[0]

    def set_link(self, interface, *, up):
        """Takes an interface up or down: at once, where a program would have to start first."""
        name = interface.encode()
        with self.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            told = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH14x", name, 0))
            flags = struct.unpack("16sH14x", told)[1]
            flags = flags | _IFF_UP if up else flags & ~_IFF_UP
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", name, flags))

    def sysctl(self, key, value=None):
        """Reads, or sets, a kernel setting of the namespace, as text."""
        path = "/proc/sys/" + key
        if value is None:
            return self.run("cat", path).stdout.strip()
        self.run("sh", "-c", f"echo {value} > {path}")
        return str(value)


def _setns(descriptor):
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Pings:
    """What a run of ping saw."""

    def __init__(self, text):
        self.text = text
        self.sent, self.received = map(
            int, re.search(r"(\d+) packets transmitted, (\d+) received", text).groups()
        )
        self.times = [float(ms) * 1000 for ms in re.findall(r"time=([\d.]+) ms", text)]
        self.ttls = {int(ttl) for ttl in re.findall(r"(?:ttl|hlim)=(\d+)", text)}

    @property
    def median(self):
        """The median round trip in microseconds."""
        return statistics.median(self.times)


class Host(Namespace):
    """A Linux host on `eth0`."""

    def address(self, *addresses, interface="eth0"):
        """Gives the host addresses, usable at once."""
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            self.run("ip", "addr", "add", address, "dev", interface, *nodad)

    def route(self, destination, via):
        """Adds a route."""
        self.run("ip", "route", "replace", destination, "via", via)

    def offloads(self, *settings):
        """Switches offloads of `eth0`, as in `offloads("tso", "off", "gso", "off")`."""
        self.run("ethtool", "-K", "eth0", *settings)

    def ping(self, address, *options, count=3, interval=0.05, wait=1):
        """Pings; never fails by itself: look at `.received`."""
        done = self.run(
            *("ping", "-n", "-c", count, "-i", interval, "-W", wait, *options, address),
            check=False,
            timeout=30 + count * interval,
        )
        if "packets transmitted" not in done.stdout:
            raise AssertionError(f"ping {address}: {done.stdout}{done.stderr}")
        return Pings(done.stdout)

    def reaches(self, address, *options):
        """Whether at least one of a few pings is answered."""
        return self.ping(address, *options, count=3, interval=0.2).received > 0

    def iperf_server(self):
        """Serves iperf3 and waits until it listens."""
        child = self.start("iperf3", "-s")
        self.wait_for_listener(5201)
        return child

    def iperf(self, address, *options, seconds=2):
        """Runs iperf3 over TCP; the received bits a second."""
        done = self.run(
            *("iperf3", "-J", "-c", address, "-t", seconds, "--connect-timeout", 3000, *options),
            check=False,
            timeout=seconds + 20,
        )
        answer = json.loads(done.stdout)
        if "error" in answer:
            raise AssertionError(f"iperf3 to {address}: {answer['error']}")
        return answer["end"]["sum_received"]["bits_per_second"]

    def http_server(self, directory, port=80):
        """Serves a directory over HTTP, both families, and waits until it listens."""
        child = self.start(
            *("/usr/bin/python3", "-m", "http.server", "--bind", "::", "-d", directory, port)
        )
        self.wait_for_listener(port)
        return child

    def fetch(self, url, timeout=2):
        """Gets a page by curl; `None` when that fails."""
        done = self.run("curl", "-sS", "-g", "-m", timeout, url, check=False)
        return done.stdout if done.returncode == 0 else None

    def traceroute(self, address, *options):
        """The addresses that traceroute names, in order; `*` for a silent hop."""
        lines = self.run("traceroute", "-n", "-q", 1, "-w", 1, *options, address).stdout
        return [line.split()[1] for line in lines.splitlines()[1:]]

    def wait_for_listener(self, port, patience=5.0):
        """Waits until something listens on a TCP port."""
        deadline = time.monotonic() + patience
        while not self.run("ss", "-Hltn", f"sport = :{port}").stdout.strip():
            if time.monotonic() > deadline:
                raise AssertionError(f"nothing listens on port {port} of {self.name}")
            time.sleep(0.02)
