"""Packets that are wrong are dropped by a name, and harm nobody (RFC 1812 section 5.2.2)."""

import random

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw


def ipv4(**fields):
    return IP(src="10.0.1.2", dst="10.0.2.2", **fields) / UDP(dport=5000) / Raw(b"x" * 64)


def ipv6(**fields):
    return IPv6(src="fd00:1::2", dst="fd00:2::2", **fields) / UDP(dport=5000) / Raw(b"x" * 64)


@pytest.mark.parametrize(
    ("reason", "packet"),
    [
        ("ipv4-checksum", ipv4(chksum=0xDEAD)),
        ("ipv4-version", ipv4(version=5)),
        ("ipv4-header-length", ipv4(ihl=4)),
        ("ipv4-total-length", ipv4(len=19)),
        ("ipv4-total-length", ipv4(len=200)),
        ("ipv6-version", ipv6(version=5)),
        ("ipv6-payload-length", ipv6(plen=200)),
        ("super-packet", ipv4(len=2000)),
        ("super-packet", ipv6(plen=2000)),
        ("hop-limit-zero", ipv4(ttl=0)),
    ],
)
def test_a_malformed_packet_is_dropped_by_name(stations, reason, packet):
    before = stations.sluice.drops()[reason]
    ethertype = 0x86DD if IPv6 in packet else 0x0800
    stations.lan.send(Ether(src=stations.lan.mac, dst=stations.lan.peer, type=ethertype) / packet)
    stations.wan.expect_none(lambda f: UDP in f)
    assert stations.sluice.drops()[reason] == before + 1


def test_the_router_survives_mutated_frames(stations):
    rng = random.Random(2)
    seeds = [
        bytes(Ether(src=stations.lan.mac, dst=stations.lan.peer) / packet)
        for packet in (
            ipv4(),
            ipv6(),
            ipv4(options=b"\x83\x07\x04\x0a\x00\x02\x02\x00"),
            ARP(op=1, psrc="10.0.1.2", pdst="10.0.1.1"),
        )
    ]
    for _ in range(3000):
        frame = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            frame[rng.randrange(12, len(frame))] = rng.randrange(256)
        stations.lan.send(bytes(frame[: rng.choice((len(frame), rng.randint(14, len(frame))))]))
    stations.lan.say(ipv4(id=777))
    stations.wan.expect(lambda f: IP in f and f[IP].id == 777, seconds=5)


def test_arp_cut_short_at_every_length_is_ignored(stations):
    whole = bytes(
        Ether(src=stations.lan.mac, dst="ff:ff:ff:ff:ff:ff")
        / ARP(op=1, hwsrc=stations.lan.mac, psrc="10.0.1.2", pdst="10.0.1.1")
    )
    for length in range(14, len(whole)):
        stations.lan.send(whole[:length])
    stations.lan.expect_none(lambda f: ARP in f)
