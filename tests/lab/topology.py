"""Namespaces and the cables between them."""

import itertools
import os
import re
import subprocess
import textwrap

from .namespace import Host, Namespace
from .sluice import Sluice, worker_core
from .wire import Wire

_PREFIX = "sluice-e2e"


class Lab:
    """Everything that a test makes in the kernel; leaving the `with` takes it all away."""

    _labs = itertools.count()

    def __init__(self):
        self._prefix = f"{_PREFIX}-{os.getpid()}-{next(self._labs)}"
        self._namespaces = []

    def __enter__(self):
        sweep()
        return self

    def __exit__(self, *_):
        while self._namespaces:
            self._namespaces.pop().close()

    def _add(self, kind, name):
        namespace = kind(f"{self._prefix}-{name}")
        self._namespaces.append(namespace)
        return namespace

    def host(self, name):
        """A host without interfaces yet."""
        return self._add(Host, name)

    def namespace(self, name="router"):
        """A bare namespace: where Sluice runs."""
        return self._add(Namespace, name)

    def cable(self, left, left_end, right, right_end, mtu=1500, queues=1):
        """A veth cable: `left_end` appears in `left`, `right_end` in `right`, both up."""
        size = ["mtu", mtu, "numrxqueues", queues, "numtxqueues", queues]
        left.run(
            *("ip", "link", "add", left_end, *size, "type", "veth"),
            *("peer", "name", right_end, "netns", right.name, *size),
        )
        for namespace, end in ((left, left_end), (right, right_end)):
            namespace.run("ip", "link", "set", end, "up")

    def wire(self, router, port, mac=None, mtu=1500):
        """A cable from the router's `port` to a station without a kernel stack."""
        station = self._add(Namespace, port)
        station.sysctl("net/ipv6/conf/default/disable_ipv6", 1)
        self.cable(station, "eth0", router, port, mtu=mtu)
        if mac:
            station.run("ip", "link", "set", "eth0", "address", mac)
        return Wire(station, "eth0", peer=router.mac(port))


def sweep():
    """Removes what a run that was killed left behind; runs still alive are left alone."""
    listing = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    for name, pid in re.findall(rf"^({_PREFIX}-(\d+)-\S+)", listing, re.MULTILINE):
        if not os.path.exists(f"/proc/{pid}"):
            left = Namespace.__new__(Namespace)
            left.name, left._children, left._closers = name, [], []
            left.close()


class Pair:
    """The lab of most tests: `client (lan) — Sluice — (wan) server`.

    | host | IPv4 | IPv6 |
    |--|--|--|
    | client | 10.0.1.2/24 | fd00:1::2/64 |
    | router | 10.0.1.1, 10.0.2.1 | fd00:1::1, fd00:2::1 |
    | server | 10.0.2.2/24 | fd00:2::2/64 |

    The hosts keep every offload but segmentation, which af_packet cannot carry.
    """

    def __init__(self, lab, mtu=1500, queues=1, segmentation=False):
        self.lab = lab
        self.router = lab.namespace()
        self.client = lab.host("client")
        self.server = lab.host("server")
        for host, port, net in ((self.client, "lan", 1), (self.server, "wan", 2)):
            lab.cable(host, "eth0", self.router, port, mtu=mtu, queues=queues)
            host.address(f"10.0.{net}.2/24", f"fd00:{net}::2/64")
            host.route("default", f"10.0.{net}.1")
            host.route("::/0", f"fd00:{net}::1")
            if not segmentation:
                host.offloads("tso", "off", "gso", "off")

    def sluice(self, more="", **options):
        """Sluice between the two, running; `more` is YAML appended to the usual file."""
        return Sluice(self.router, pair_configuration(more, **options))


def pair_configuration(
    more="",
    *,
    lan="net_af_packet0,iface=lan",
    wan="net_af_packet1,iface=wan",
    mtu=1500,
    wan_mtu=None,
    cores=None,
    memory=256,
    limits="{}",
    lan_options="",
    wan_options="",
):
    """The configuration file of a `Pair`; `more` is YAML for its end."""
    cores = [worker_core()] if cores is None else cores
    ports = _port("lan", 1, lan, mtu, lan_options) + _port("wan", 2, wan, wan_mtu or mtu, wan_options)
    head = f"dataplane: {{ cores: {cores}, memory: {memory}, limits: {limits} }}\nports:\n"
    return head + ports + textwrap.dedent(more)


def _port(name, net, device, mtu, options):
    lines = [
        f"device: {device}",
        f"mtu: {mtu}",
        f'addresses: [10.0.{net}.1/24, "fd00:{net}::1/64"]',
        *textwrap.dedent(options).strip().splitlines(),
    ]
    return f"  {name}:\n" + "".join(f"    {line}\n" for line in lines)
