"""Instances: networks that share a router and nothing else, not even their addresses."""

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from lab import Lab, Sluice, Stream, worker_core

ADDRESSES = {1: '[10.0.1.1/24, "fd00:1::1/64"]', 2: '[10.0.2.1/24, "fd00:2::1/64"]'}

CONFIGURATION = f"""\
dataplane: {{ cores: [{worker_core()}], memory: 256 }}
ports:
  red-lan: {{ device: "net_af_packet0,iface=red-lan", addresses: {ADDRESSES[1]} }}
  red-wan: {{ device: "net_af_packet1,iface=red-wan", addresses: {ADDRESSES[2]} }}
  blue-lan: {{ device: "net_af_packet2,iface=blue-lan", addresses: {ADDRESSES[1]}, instance: blue }}
  blue-wan: {{ device: "net_af_packet3,iface=blue-wan", addresses: {ADDRESSES[2]}, instance: blue }}
instances:
  blue:
    routes:
      - {{ to: 10.9.0.0/16, via: 10.0.2.2 }}
    filters:
      forward:
        rules:
          - {{ name: no-8080, protocol: tcp, destination-port: 8080, action: reject }}
"""


class Colour:
    """A client and a server with the addresses that those of the other colour have too."""

    def __init__(self, lab, router, name, directory):
        self.client, self.server = lab.host(f"{name}-client"), lab.host(f"{name}-server")
        for host, side, net in ((self.client, "lan", 1), (self.server, "wan", 2)):
            lab.cable(host, "eth0", router, f"{name}-{side}")
            host.address(f"10.0.{net}.2/24", f"fd00:{net}::2/64")
            host.route("default", f"10.0.{net}.1")
            host.route("::/0", f"fd00:{net}::1")
            host.offloads("tso", "off", "gso", "off")
        directory.mkdir()
        (directory / "index.html").write_text(name)
        for port in (80, 8080):
            self.server.http_server(directory, port)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    with Lab() as lab:
        router = lab.namespace()
        pages = tmp_path_factory.mktemp("pages")
        red, blue = (Colour(lab, router, name, pages / name) for name in ("red", "blue"))
        with Sluice(router, CONFIGURATION) as sluice:
            yield red, blue, sluice


def test_each_reaches_its_own(colours):
    red, blue, _ = colours
    for address in ("10.0.2.2", "[fd00:2::2]"):
        assert red.client.fetch(f"http://{address}/") == "red"
        assert blue.client.fetch(f"http://{address}/") == "blue"
    for host in (red.client, blue.client):
        for address in ("10.0.1.1", "10.0.2.1", "fd00:1::1", "fd00:2::1"):
            assert host.reaches(address), address


def test_neighbours_are_kept_apart(colours):
    red, blue, sluice = colours
    assert red.client.reaches("10.0.2.2") and blue.client.reaches("10.0.2.2")
    macs = {
        row["interface"]: row["mac"]
        for row in sluice.show("neighbours")
        if row["address"] == "10.0.2.2"
    }
    assert macs == {"red-wan": red.server.mac("eth0"), "blue-wan": blue.server.mac("eth0")}


def test_a_rule_holds_in_its_instance_only(colours):
    red, blue, sluice = colours
    assert red.client.fetch("http://10.0.2.2:8080/") == "red"
    assert blue.client.fetch("http://10.0.2.2:8080/", timeout=2) is None
    question = {"src": "10.0.1.2", "dst": "10.0.2.2", "proto": "tcp", "dport": 8080}
    verdicts = {
        colour: sluice.explain(in_=f"{colour}-lan", **question) for colour in ("red", "blue")
    }
    assert (verdicts["red"]["instance"], verdicts["red"]["verdict"]) == ("default", "accept")
    assert (verdicts["blue"]["instance"], verdicts["blue"]["verdict"]) == ("blue", "reject")


def test_a_route_holds_in_its_instance_only(colours):
    red, blue, sluice = colours
    for colour in (red, blue):
        colour.server.address("10.9.0.1/32", "10.77.0.1/32", interface="lo")
    assert blue.client.reaches("10.9.0.1")
    assert "Net Unreachable" in red.client.ping("10.9.0.1").text
    sluice.run("route", "add", "10.77.0.0/16", "via", "10.0.2.2", "--instance", "blue")
    assert blue.client.reaches("10.77.0.1") and not red.client.reaches("10.77.0.1")
    sluice.run("route", "del", "10.77.0.0/16", "--instance", "blue")
    assert not blue.client.reaches("10.77.0.1")


def test_vlans_of_one_port_may_be_of_different_instances(lab):
    router = lab.namespace()
    wire = lab.wire(router, "trunk", mac="02:00:00:00:01:02")
    out = lab.wire(router, "out", mac="02:00:00:00:02:02")
    configuration = f"""\
dataplane: {{ cores: [{worker_core()}], memory: 256 }}
ports:
  trunk:
    device: net_af_packet0,iface=trunk
    addresses: [10.0.1.1/24]
    vlans:
      10: {{ addresses: [10.0.1.1/24], instance: blue }}
  out: {{ device: "net_af_packet1,iface=out", addresses: [10.0.2.1/24] }}
instances: {{ blue: {{}} }}
neighbours:
  - {{ interface: out, address: 10.0.2.2, mac: "02:00:00:00:02:02" }}
  - {{ interface: trunk, address: 10.0.1.2, mac: "02:00:00:00:01:02" }}
  - {{ interface: trunk.10, address: 10.0.1.2, mac: "02:00:00:00:01:02" }}
"""

    def send(*tags, destination, what):
        header = Ether(src=wire.mac, dst=wire.peer)
        for tag in tags:
            header /= tag
        wire.send(header / IP(src="10.0.1.2", dst=destination) / what)

    with Sluice(router, configuration):
        send(destination="10.0.2.2", what=UDP(dport=5))
        out.expect(lambda f: UDP in f)
        send(Dot1Q(vlan=10), destination="10.0.2.2", what=UDP(dport=5))
        error = wire.expect(lambda f: ICMP in f and f[ICMP].type == 3)
        assert (error[Dot1Q].vlan, error[ICMP].code) == (10, 0)
        out.expect_none(lambda f: UDP in f)
        send(Dot1Q(vlan=10), destination="10.0.1.1", what=ICMP())
        assert wire.expect(lambda f: ICMP in f and f[ICMP].type == 0)[Dot1Q].vlan == 10


def test_b5_an_instance_goes_with_traffic_in_it_and_is_hooked_from_its_first_packet(colours):
    """The hook lets nothing pass: one packet that it was not shown would arrive."""
    red, blue, sluice = colours
    usual = sluice.file.read_text()
    lines = usual[: usual.index("instances:")].splitlines(keepends=True)
    without = "".join(line for line in lines if "blue" not in line)
    hooked = usual + (
        "hooks:\n  wall: { program: hundredth, event: physical-in, order: first, instance: blue,"
        " settings: { every: 1 } }\n"
    )
    try:
        with (
            Stream(red.client, red.server, "10.0.2.2") as other,
            Stream(blue.client, blue.server, "10.0.2.2") as stream,
        ):
            assert stream.wait_for(50)
            for _ in range(3):
                sluice.apply(without)
                gone, dropped = stream.sent, sluice.drops()["hook"]
                sluice.apply(hooked)
                assert sluice.wait_until(lambda: sluice.drops()["hook"] > dropped + 100)
                assert max(stream.seen) <= gone, "a packet passed the hook by"
                sluice.apply(usual)
                assert stream.wait_for(50, patience=15)
        assert other.lost == [] and other.in_order
    finally:
        sluice.apply(usual)


def test_e20_a_hook_counts_each_instance_by_itself(colours):
    red, blue, sluice = colours
    sluice.run("hook", "load", "pass-packet", "--event", "forwarding")

    def counted():
        shown = sluice.show("hooks", "--event", "forwarding")
        hook = next(row for row in shown["hooks"] if row["name"] == "pass-packet")
        by_instance = {row["instance"]: row["packets"] for row in hook["instances"]}
        places = {
            order["instance"]: place["packets"]
            for order in shown["orders"]
            for place in order["places"]
            if place["name"] == "pass-packet"
        }
        assert places == by_instance
        return by_instance

    try:
        before = counted()
        assert blue.client.fetch("http://10.0.2.2/") == "blue"
        middle = counted()
        assert middle["blue"] > before["blue"]
        assert red.client.fetch("http://10.0.2.2/") == "red"
        after = counted()
        assert after["default"] > middle["default"]
        assert after["blue"] == middle["blue"], "nothing of the other's"
    finally:
        sluice.run("hook", "unload", "pass-packet")
