"""Routes and their owners: layers, tables, next hops behind routes, and flows that stay."""

import itertools

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Raw

from lab import Lab, Sluice, worker_core
from lab.load import Load

STATIONS = {
    "lan": (1, ["2"]),
    "wan": (2, ["2", "3"]),
    "thin": (3, ["2"]),
    "tenant": (4, ["2"]),
}
CONFIGURATION = f"""\
dataplane: {{ cores: [{worker_core()}], memory: 256 }}
ports:
  lan: {{ device: "net_af_packet0,iface=lan", addresses: [10.0.1.1/24, "fd00:1::1/64"] }}
  wan: {{ device: "net_af_packet1,iface=wan", addresses: [10.0.2.1/24, "fd00:2::1/64"] }}
  thin: {{ device: "net_af_packet2,iface=thin", addresses: [10.0.3.1/24, "fd00:3::1/64"] }}
  tenant:
    device: net_af_packet3,iface=tenant
    instance: blue
    addresses: [10.0.4.1/24, "fd00:4::1/64"]
neighbours:
"""
ROUTES = """
tables: isp
instances:
  blue:
    routes:
      - { to: 10.0.1.0/24, lookup: { instance: default } }
      - { to: "fd00:1::/64", lookup: { instance: default } }
routes:
  - { to: 198.51.100.0/24, via: 10.0.2.2 }
  - { to: 203.0.113.0/24, via: 10.0.2.2 }
  - { to: "fd03::/16", via: "fd00:2::2" }
  - { to: 10.40.0.0/16, via: 203.0.113.1 }
  - { to: "fd40::/16", via: "fd03::1" }
  - { to: 10.0.4.0/24, lookup: { instance: blue } }
  - { to: "fd00:4::/64", lookup: { instance: blue } }
  - { to: 10.20.0.0/16, prohibit: true }
  - { to: "fd20::/16", prohibit: true }
  - { to: 10.21.0.0/16, lookup: { table: isp } }
  - { to: "fd21::/16", lookup: { table: isp } }
  - { to: 0.0.0.0/0, table: isp, reject: true }
  - { to: "::/0", table: isp, reject: true }
  - { to: 10.30.0.0/16, via: [10.0.2.2, 10.0.2.3, 10.0.3.2] }
  - { to: "fd30::/16", via: ["fd00:2::2", "fd00:2::3", "fd00:3::2"] }
"""


def mac(net, host):
    return f"02:00:00:00:{net:02}:{int(host):02}"


class Wires:
    """`lan`, `wan`, `thin`, and `tenant` of instance blue, around a running Sluice. Each has a
    station `10.0.N.2` and `fd00:N::2`, `wan` a second one; who is who, their link addresses say."""

    def __init__(self, lab):
        router, neighbours = lab.namespace(), []
        for name, (net, hosts) in STATIONS.items():
            setattr(self, name, lab.wire(router, name, mac=mac(net, "2")))
            for host, address in itertools.product(hosts, ("10.0.{}.{}", "fd00:{}::{}")):
                address = address.format(net, host)
                neighbours.append(
                    f'  - {{ interface: {name}, address: "{address}", mac: "{mac(net, host)}" }}\n'
                )
        self.sluice = Sluice(router, CONFIGURATION + "".join(neighbours) + ROUTES)

    def drain(self):
        for name in STATIONS:
            getattr(self, name).drain()

    def where(self, destination, sport=4000):
        """The wire that a datagram from lan comes out of."""
        self.drain()
        self.lan.say(udp(destination, sport=sport))
        for wire in itertools.cycle((self.wan, self.thin, self.tenant)):
            if any(UDP in frame and frame[1].dst == destination for frame in wire.frames(0.05)):
                return next(name for name in STATIONS if getattr(self, name) is wire)


@pytest.fixture(scope="module")
def wires():
    with Lab() as lab:
        wires = Wires(lab)
        with wires.sluice:
            yield wires


def udp(destination, source=None, sport=4000):
    inet6 = ":" in destination
    source = source or ("fd00:1::2" if inet6 else "10.0.1.2")
    header = (IPv6 if inet6 else IP)(src=source, dst=destination)
    return header / UDP(sport=sport, dport=5000) / Raw(b"sluice" * 5)


def told(sluice, prefix):
    """Of each owner of a prefix: whether it is in use, and what its next hops resolve through."""
    rows = (row for row in sluice.show("routes") if row["prefix"] == prefix)
    return {row["owner"]: (row["active"], row.get("through", [])) for row in rows}


def test_withdrawing_an_owner_reveals_the_next_without_loss(wires):
    """What DHCP learnt covers what the file says; without it, the file's is there at once."""
    sluice, turns = wires.sluice, 4
    with Load(wires.lan, {"wan": wires.wan, "thin": wires.thin}, "198.51.100.7") as load:
        for _ in range(turns):
            assert load.wait_for(100)
            add = ("198.51.100.0/24", "via", "10.0.3.2", "--owner", "dhcp")
            sluice.run("route", "add", *add)
            assert told(sluice, "198.51.100.0/24") == {"dhcp": (True, []), "static": (False, [])}
            assert load.wait_for(100)
            sluice.run("route", "withdraw", "--owner", "dhcp")
            assert told(sluice, "198.51.100.0/24") == {"static": (True, [])}
        assert load.wait_for(100)
    assert load.lost == [] and load.doubled == 0 and load.in_order
    ways = sorted((number, name) for name, came in load.came.items() for number in came)
    changes = [name for name, _ in itertools.groupby(name for _, name in ways)]
    assert changes == ["wan", "thin"] * turns + ["wan"], "each is used until the other is"


@pytest.mark.parametrize(
    ("destination", "prefix", "resolver", "longer", "other"),
    [
        ("10.40.0.9", "10.40.0.0/16", "203.0.113.0/24", "203.0.113.0/25", "10.0.3.2"),
        ("fd40::9", "fd40::/16", "fd03::/16", "fd03::/64", "fd00:3::2"),
    ],
)
def test_a_next_hop_behind_a_route_follows_it(wires, destination, prefix, resolver, longer, other):
    sluice = wires.sluice
    assert wires.where(destination) == "wan"
    assert told(sluice, prefix) == {"static": (True, [resolver])}
    sluice.run("route", "add", longer, "via", other, "--owner", "ospf")
    assert wires.where(destination) == "thin"
    assert told(sluice, prefix) == {"static": (True, [longer])}
    sluice.run("route", "withdraw", "--owner", "ospf")
    assert wires.where(destination) == "wan"


def test_a_learnt_route_waits_for_what_it_resolves_through(wires):
    sluice, row = wires.sluice, ("10.41.0.0/16", "via", "192.0.2.1")
    refused = sluice.run("route", "add", *row, check=False)
    assert refused.returncode != 0 and "192.0.2.1" in refused.stderr, "typed: it must lead somewhere"
    sluice.run("route", "add", *row, "--owner", "bgp")
    assert told(sluice, "10.41.0.0/16") == {"bgp": (False, [])}
    said = sluice.explain(src="10.0.1.2", dst="10.41.0.9", proto="udp")
    assert said["reason"] == "no-route"
    assert "10.41.0.0/16 (bgp) waits" in said["steps"][-1]["text"]
    sluice.run("route", "add", "192.0.2.0/24", "via", "10.0.3.2", "--owner", "ospf")
    assert wires.where("10.41.0.9") == "thin"
    for owner in ("bgp", "ospf"):
        sluice.run("route", "withdraw", "--owner", owner)


@pytest.mark.parametrize("net", ["10.0.{}.{}", "fd00:{}::{}"])
def test_a_table_is_leaked_from_another_instance(wires, net):
    client, tenant = net.format(1, 2), net.format(4, 2)
    assert wires.where(tenant) == "tenant"
    wires.tenant.say(udp(client, source=tenant))
    frame = wires.lan.expect(lambda frame: UDP in frame and frame[1].dst == client)
    assert frame[1].src == tenant
    # Where no route leads, the instances are strangers, and each answers for itself alone.
    wires.tenant.say(udp(net.format(2, 2), source=tenant))
    wires.wan.expect_none(lambda frame: UDP in frame)
    before = wires.sluice.drops()["other-instance"]
    wires.lan.say(udp(net.format(4, 1)))
    dropped = lambda: wires.sluice.drops()["other-instance"] - before
    assert wires.sluice.wait_until(lambda: dropped() == 1)


@pytest.mark.parametrize(
    ("destination", "answer", "code"),
    [
        ("10.20.0.1", ICMP, 13),
        ("10.21.0.1", ICMP, 1),
        ("fd20::1", ICMPv6DestUnreach, 1),
        ("fd21::1", ICMPv6DestUnreach, 6),
    ],
)
def test_prohibit_and_reject_are_told_apart(wires, destination, answer, code):
    """RFC 1812 section 5.2.7.1, RFC 4443 section 3.1."""
    wires.lan.say(udp(destination))
    frame = wires.lan.expect(lambda frame: answer in frame)
    assert frame[answer].code == code


@pytest.mark.parametrize("destination", ["10.30.0.9", "fd30::9"])
def test_a_member_that_is_lost_moves_its_own_flows_alone(wires, destination):
    sluice, flows = wires.sluice, range(20_000, 20_200)

    def members():
        """The link address that each flow's packet goes to."""
        wires.drain()
        wires.lan.say(*(udp(destination, sport=sport) for sport in flows))
        came = {}

        def arrived():
            for frame in (*wires.wan.frames(0.2), *wires.thin.frames(0.2)):
                if UDP in frame and frame[1].dst == destination:
                    came[frame[UDP].sport] = frame.dst
            return len(came) == len(flows)

        assert sluice.wait_until(arrived, patience=10), f"{len(came)} of {len(flows)} came"
        return came

    before = members()
    lost = mac(3, "2")

    def linked():
        return next(row["link"] for row in sluice.show("ports") if row["name"] == "thin")

    shares = [sum(to == member for to in before.values()) for member in set(before.values())]
    assert len(shares) == 3 and min(shares) > len(flows) / 6, shares
    link = ("ip", "link", "set", "eth0")
    wires.thin.namespace.run(*link, "down")
    try:
        assert sluice.wait_until(lambda: not linked())
        list(wires.thin.waiting())  # the socket says once that the interface is down
        without = members()
    finally:
        wires.thin.namespace.run(*link, "up")
    for sport in flows:
        assert without[sport] != lost
        assert without[sport] == before[sport] or before[sport] == lost, f"flow {sport} moved"
    assert sluice.wait_until(linked)
    assert sluice.wait_until(lambda: members() == before), "who comes back has its own flows again"
