"""ICMPv6 errors and echo (RFC 4443)."""

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.packet import Raw

ROUTES = """
routes:
  - { to: "fd20::/16", reject: true }
  - { to: "fd21::/16", blackhole: true }
"""
CLIENT, SERVER, THIN, NOWHERE = "fd00:1::2", "fd00:2::2", "fd00:3::2", "fd99::1"
ERRORS = (ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded)


@pytest.fixture(scope="module", autouse=True)
def routes(stations):
    stations.configure(ROUTES)


def udp(destination, size=64, source=CLIENT, **fields):
    header = IPv6(src=source, dst=destination, **fields)
    return header / UDP(sport=4000, dport=5000) / Raw(b"q" * size)


def error(frame):
    """Whether a frame is an ICMPv6 error."""
    return any(kind in frame for kind in ERRORS)


def valid(answer):
    """The checksum of the answer is right."""
    again = IPv6(bytes(answer[IPv6]))
    del again.payload.cksum
    return bytes(again) == bytes(answer[IPv6])


def test_a_packet_whose_hop_limit_runs_out_is_answered(stations):
    packet = udp(SERVER, size=1350, hlim=1)
    stations.lan.say(packet)
    answer = stations.lan.expect(lambda f: ICMPv6TimeExceeded in f)
    assert answer[ICMPv6TimeExceeded].code == 0
    assert (answer[IPv6].src, answer[IPv6].dst) == ("fd00:1::1", CLIENT)
    assert valid(answer)
    quote = bytes(answer[ICMPv6TimeExceeded].payload)
    assert bytes(packet).startswith(quote)
    assert 1200 <= len(answer[IPv6]) <= 1280, "as much as fits in 1280 bytes"


def test_a_large_packet_learns_the_mtu_and_is_never_fragmented(stations):
    stations.lan.say(udp(THIN, size=1400))
    answer = stations.lan.expect(lambda f: ICMPv6PacketTooBig in f)
    assert answer[ICMPv6PacketTooBig].mtu == 1280 and valid(answer)
    stations.thin.expect_none(lambda f: UDP in f or IPv6ExtHdrFragment in f)


def test_a_packet_of_exactly_the_mtu_passes(stations):
    stations.lan.say(udp(THIN, size=1280 - 48))
    stations.thin.expect(lambda f: UDP in f)


@pytest.mark.parametrize(("destination", "codes"), [(NOWHERE, {0}), ("fd20::1", {1, 6})])
def test_unreachable_by_route(stations, destination, codes):
    stations.lan.say(udp(destination))
    answer = stations.lan.expect(lambda f: ICMPv6DestUnreach in f)
    assert answer[ICMPv6DestUnreach].code in codes and valid(answer)


def test_a_blackhole_is_silent(stations):
    stations.lan.say(udp("fd21::1"))
    stations.lan.expect_none(error)


def test_no_error_about_an_error(stations):
    about = IPv6(src=CLIENT, dst=SERVER, hlim=1)
    stations.lan.say(about / ICMPv6DestUnreach() / bytes(udp("fd00:1::9")))
    stations.lan.expect_none(error)


def test_no_error_about_a_multicast(stations):
    stations.lan.say(udp("ff0e::1", hlim=1))
    stations.lan.expect_none(error)


@pytest.mark.parametrize("source", ["::", "::1", "ff02::1"])
def test_no_error_to_a_source_that_is_nobody(stations, source):
    stations.lan.say(udp(SERVER, source=source, hlim=1))
    stations.lan.expect_none(error)


def test_errors_are_rate_limited(stations):
    for _ in range(600):
        stations.lan.say(udp(SERVER, hlim=1))
    assert 1 <= len(stations.lan.collect(error, seconds=1.0)) < 360


@pytest.mark.parametrize("address", ["fd00:1::1", "fd00:2::1"])
def test_echo_is_answered_from_the_address_that_was_pinged(stations, address):
    data = bytes(range(256)) * 4
    stations.lan.say(IPv6(src=CLIENT, dst=address) / ICMPv6EchoRequest(id=1, seq=2, data=data))
    answer = stations.lan.expect(lambda f: ICMPv6EchoReply in f)
    reply = answer[ICMPv6EchoReply]
    assert (answer[IPv6].src, reply.id, reply.seq, bytes(reply.data)) == (address, 1, 2, data)
    assert valid(answer)


@pytest.mark.parametrize("address", ["fd00:1::1", "fd00:2::1"])
def test_udp_to_the_router_finds_no_port(stations, address):
    stations.lan.say(udp(address))
    answer = stations.lan.expect(lambda f: ICMPv6DestUnreach in f)
    assert (answer[ICMPv6DestUnreach].code, answer[IPv6].src) == (4, address)


def test_tcp_to_the_router_is_reset(stations):
    header = IPv6(src=CLIENT, dst="fd00:1::1")
    stations.lan.say(header / TCP(sport=4000, dport=22, flags="S", seq=99))
    answer = stations.lan.expect(lambda f: TCP in f)
    assert answer[TCP].flags == "RA" and answer[TCP].ack == 100
