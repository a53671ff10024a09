"""IPv4 packets that are longer than the MTU of their egress leave as fragments (RFC 791)."""

import socket

import pytest
from scapy.layers.inet import IP, UDP, defragment
from scapy.packet import Raw

from lab import Pair

CLIENT, THIN = "10.0.1.2", "10.0.3.2"
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0


def udp(size, **fields):
    data = bytes(place // 7 & 0xFF for place in range(size))
    return IP(src=CLIENT, dst=THIN, **fields) / UDP(sport=4000, dport=5000) / Raw(data)


def pieces(wire, count):
    """What comes out, as IP packets, in the order of arrival."""
    frames = [wire.expect(lambda f: IP in f and f[IP].dst == THIN) for _ in range(count)]
    wire.expect_none(lambda f: IP in f and f[IP].dst == THIN)
    return [IP(bytes(frame[IP])[: frame[IP].len]) for frame in frames]


def without(packet, *fields):
    """An IP packet's header without fields that differ, and its payload."""
    header = dict(packet[IP].fields)
    for field in ("flags", "frag", "len", "chksum", *fields):
        header.pop(field)
    return header, bytes(packet[IP].payload)


def test_fragments_make_up_the_packet_that_was_cut(stations):
    whole = udp(1400, id=4711, tos=0xBB, ttl=9)
    stations.lan.say(whole)
    out = pieces(stations.thin, 2)
    assert [p.len for p in out] == [1276, 1428 - 1256]
    assert {p.ttl for p in out} == {8} and {p.tos for p in out} == {0xBB}
    for piece in out:
        again = piece.copy()
        del again.chksum
        assert IP(bytes(again)).chksum == piece.chksum
    (together,) = defragment(out)
    assert without(IP(bytes(together)), "ttl") == without(IP(bytes(whole)), "ttl")


def test_conformance_42_pieces_of_a_middle_fragment_begin_where_it_began(stations):
    middle = IP(src=CLIENT, dst=THIN, id=4712, proto=17, frag=100, flags="MF") / Raw(b"m" * 1480)
    stations.lan.say(middle)
    out = pieces(stations.thin, 2)
    assert [(p.frag, str(p.flags), p.len) for p in out] == [(100, "MF", 1276), (257, "MF", 244)]


def reassembled(host):
    """Fragments that a host's kernel has seen, and datagrams that it has made of them."""
    names, values = host.run("grep", "^Ip:", "/proc/net/snmp").stdout.splitlines()
    counted = dict(zip(names.split(), values.split(), strict=True))
    return int(counted["ReasmReqds"]), int(counted["ReasmOKs"])


@pytest.fixture
def narrowing(lab):
    """A link of 9,000 bytes towards one of 1,280."""
    pair = Pair(lab, mtu=9000)
    pair.server.run("ip", "link", "set", "eth0", "mtu", 1280)
    return pair


def test_conformance_41_hosts_understand_the_fragments(narrowing):
    pair = narrowing
    with pair.sluice(mtu=9000, wan_mtu=1280):
        for mtu in (9000, 1500):
            # At 1,500 bytes the host sends fragments itself, and these are cut again.
            pair.client.run("ip", "link", "set", "eth0", "mtu", mtu)
            assert pair.client.ping("10.0.2.2", "-s", 3000, "-M", "dont").received == 3
        pair.client.run("ip", "link", "set", "eth0", "mtu", 9000)
        data = bytes(place // 7 & 0xFF for place in range(6000 - 28))
        with pair.server.entered():
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with pair.client.entered():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        with receiver, sender:
            receiver.bind(("10.0.2.2", 5000))
            receiver.settimeout(5)
            before = reassembled(pair.server)
            sender.sendto(data, ("10.0.2.2", 5000))
            assert receiver.recv(65536) == data
        fragments, datagrams = reassembled(pair.server)
        assert (fragments - before[0], datagrams - before[1]) == (5, 1)
