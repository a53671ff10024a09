"""Packets cross the router, and nothing of them changes but what must (RFC 1812, RFC 8200)."""

from collections import Counter

import pytest
from scapy.layers.inet import IP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

ROUTES = """
routes:
  - { to: 10.9.0.0/16, via: 10.0.2.2 }
  - { to: 10.9.8.0/24, via: 10.0.3.2 }
  - { to: 10.9.8.128/25, via: 10.0.2.3 }
  - { to: 10.9.8.200/32, via: 10.0.3.2 }
  - { to: "fd09::/16", via: "fd00:2::2" }
  - { to: "fd09:8::/32", via: "fd00:3::2" }
  - { to: 10.30.0.0/16, via: [10.0.2.2, 10.0.2.3] }
  - { to: "fd30::/16", via: ["fd00:2::2", "fd00:2::3"] }
"""


@pytest.fixture(scope="module", autouse=True)
def routes(stations):
    stations.configure(ROUTES)


def udp(destination, sport=4000, source=None, **fields):
    """A datagram from the station on lan."""
    if ":" in destination:
        header = IPv6(src=source or "fd00:1::2", dst=destination, **fields)
    else:
        header = IP(src=source or "10.0.1.2", dst=destination, **fields)
    return header / UDP(sport=sport, dport=5000) / Raw(b"sluice" * 5)


def to(destination):
    """Whether a frame carries a datagram to an address."""
    return lambda frame: UDP in frame and frame[1].dst == destination


def test_ipv4_changes_in_ttl_checksum_and_macs_only(stations):
    packet = udp("10.0.2.2", ttl=9, tos=0xBB, id=4711, options=[IPOption_NOP()] * 4)
    expected = packet.copy()
    expected.ttl = 8
    stations.lan.say(packet)
    frame = stations.wan.expect(to("10.0.2.2"))
    assert (frame.src, frame.dst) == (stations.wan.peer, stations.wan.mac)
    assert bytes(frame.payload) == bytes(expected)


def test_ipv6_changes_in_hop_limit_and_macs_only(stations):
    packet = udp("fd00:2::2", hlim=9, tc=0xBB, fl=0x12345)
    expected = packet.copy()
    expected.hlim = 8
    stations.lan.say(packet)
    frame = stations.wan.expect(to("fd00:2::2"))
    assert (frame.src, frame.dst) == (stations.wan.peer, stations.wan.mac)
    assert bytes(frame.payload) == bytes(expected)


def test_padding_of_a_short_frame_is_not_carried_over(stations):
    packet = IP(src="10.0.1.2", dst="10.0.2.2") / UDP(sport=4001, dport=5000) / b"x"
    padded = bytes(Ether(src=stations.lan.mac, dst=stations.lan.peer) / packet).ljust(60, b"\xaa")
    stations.lan.send(padded)
    carried = bytes(stations.wan.expect(to("10.0.2.2")).payload)
    assert b"\xaa" not in carried
    assert carried[2:4] == (29).to_bytes(2, "big")


def test_a_frame_for_another_station_is_left_alone(stations):
    stations.lan.send(Ether(src=stations.lan.mac, dst="02:00:00:00:99:99") / udp("10.0.2.2"))
    stations.wan.expect_none(to("10.0.2.2"))
    assert stations.sluice.drops()["foreign-mac"] > 0


@pytest.mark.parametrize(
    ("destination", "wire", "station"),
    [
        ("10.9.1.1", "wan", 2),
        ("10.9.8.1", "thin", 2),
        ("10.9.8.129", "wan", 3),
        ("10.9.8.200", "thin", 2),
        ("10.9.8.201", "wan", 3),
        ("fd09:1::1", "wan", 2),
        ("fd09:8::1", "thin", 2),
    ],
)
def test_the_longest_prefix_wins(stations, destination, wire, station):
    stations.lan.say(udp(destination))
    frame = getattr(stations, wire).expect(to(destination))
    assert int(frame.dst[-2:], 16) == station


@pytest.mark.parametrize("network", ["10.30.{}.9", "fd30::{}"])
def test_flows_share_two_next_hops_and_each_keeps_its_own(stations, network):
    used = {}
    for _ in range(2):
        for flow in range(256):
            stations.lan.say(udp(network.format(flow % 16), sport=10000 + flow))
        for frame in stations.wan.collect(lambda f: UDP in f, seconds=1.0):
            used.setdefault(frame[UDP].sport, set()).add(frame.dst)
    assert len(used) == 256
    assert all(len(next_hops) == 1 for next_hops in used.values()), "a flow changed its path"
    shares = Counter(next_hop for (next_hop,) in used.values())
    assert len(shares) == 2 and all(64 <= share <= 192 for share in shares.values()), shares


def test_a_packet_may_leave_by_the_port_it_came_in(stations):
    stations.lan.say(udp("10.0.1.2", source="10.0.1.77"))
    stations.lan.expect(to("10.0.1.2"))


@pytest.mark.parametrize("source", ["127.0.0.1", "224.0.0.1", "255.255.255.255", "0.1.2.3"])
def test_no_packet_from_an_address_that_cannot_be_a_source(stations, source):
    stations.lan.say(udp("10.0.2.2", source=source))
    stations.wan.expect_none(to("10.0.2.2"))


@pytest.mark.parametrize(
    "destination",
    [
        "127.0.0.1",
        "0.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
        "10.0.2.255",
        "224.0.0.5",
        "239.1.1.1",
    ],
)
def test_no_packet_to_an_address_that_is_not_forwarded(stations, destination):
    stations.lan.say(udp(destination))
    stations.wan.expect_none(to(destination))


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("fe80::2", "fd00:2::2"),
        ("fd00:1::2", "fe80::99"),
        ("::1", "fd00:2::2"),
        ("fd00:1::2", "ff02::9"),
    ],
)
def test_link_local_and_loopback_do_not_cross(stations, source, destination):
    stations.lan.say(udp(destination, source=source))
    stations.wan.expect_none(to(destination))
