"""ICMP errors: to whom, about what, how many (RFC 1812 section 4.3, RFC 1191, RFC 5927)."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

ROUTES = """
routes:
  - { to: 10.20.0.0/16, reject: true }
  - { to: 10.21.0.0/16, blackhole: true }
"""
CLIENT, SERVER, THIN, NOWHERE = "10.0.1.2", "10.0.2.2", "10.0.3.2", "10.99.0.1"
TIME_EXCEEDED, UNREACHABLE = (11, 0), 3


@pytest.fixture(scope="module", autouse=True)
def routes(stations):
    stations.configure(ROUTES)


def udp(destination, size=64, source=CLIENT, **fields):
    header = IP(src=source, dst=destination, **fields)
    return header / UDP(sport=4000, dport=5000) / Raw(b"q" * size)


def error(kind=None, code=None):
    """Whether a frame is an ICMP error, perhaps of one type and code."""
    return lambda frame: (
        ICMP in frame
        and frame[ICMP].type in ((3, 11, 12) if kind is None else (kind,))
        and code in (None, frame[ICMP].code)
    )


def quotes(answer, packet):
    """The answer quotes the packet's header and at least eight bytes after it (RFC 792)."""
    quote, original = bytes(answer[ICMP].payload), bytes(IP(bytes(packet)))
    assert quote[12:28] == original[12:28] and quote[4:6] == original[4:6], "another packet's quote"
    return len(quote)


def valid(answer):
    """Both checksums of the answer are right."""
    again = IP(bytes(answer[IP]))
    del again.chksum, again[ICMP].chksum
    return bytes(again) == bytes(answer[IP])


def test_a_packet_whose_ttl_runs_out_is_answered(stations):
    packet = udp(SERVER, size=1200, ttl=1, id=77)
    stations.lan.say(packet)
    answer = stations.lan.expect(error(*TIME_EXCEEDED))
    assert (answer[IP].src, answer[IP].dst) == ("10.0.1.1", CLIENT)
    assert (answer.src, answer.dst) == (stations.lan.peer, stations.lan.mac)
    assert valid(answer) and quotes(answer, packet) >= 28
    assert len(answer[IP]) <= 576
    stations.wan.expect_none(lambda f: UDP in f)


def test_ttl_1_reaches_the_router_itself(stations):
    stations.lan.say(IP(src=CLIENT, dst="10.0.1.1", ttl=1) / ICMP(id=5, seq=6) / b"echo")
    answer = stations.lan.expect(lambda f: ICMP in f and f[ICMP].type == 0)
    assert (answer[ICMP].id, answer[ICMP].seq, bytes(answer[ICMP].payload)[:4]) == (5, 6, b"echo")


@pytest.mark.parametrize("address", ["10.0.1.1", "10.0.2.1"])
def test_echo_is_answered_from_the_address_that_was_pinged(stations, address):
    data = bytes(range(256)) * 4
    stations.lan.say(IP(src=CLIENT, dst=address) / ICMP(id=1, seq=2) / data)
    answer = stations.lan.expect(lambda f: ICMP in f and f[ICMP].type == 0)
    assert (answer[IP].src, answer[IP].dst) == (address, CLIENT)
    assert bytes(answer[ICMP].payload) == data and valid(answer)


def test_no_error_about_an_icmp_error_but_one_about_an_echo(stations):
    about = IP(src=CLIENT, dst=SERVER, ttl=1)
    stations.lan.say(about / ICMP(type=3, code=1) / bytes(udp("10.0.1.9")))
    stations.lan.expect_none(error())
    stations.lan.say(about / ICMP())
    stations.lan.expect(error(*TIME_EXCEEDED))


def test_no_error_about_a_later_fragment(stations):
    stations.lan.say(udp(SERVER, ttl=1, frag=100))
    stations.lan.expect_none(error())


def test_no_error_about_and_no_forwarding_of_a_link_broadcast(stations):
    stations.lan.send(Ether(src=stations.lan.mac, dst="ff:ff:ff:ff:ff:ff") / udp(SERVER, ttl=1))
    stations.lan.send(Ether(src=stations.lan.mac, dst="ff:ff:ff:ff:ff:ff") / udp(SERVER))
    stations.lan.expect_none(error())
    stations.wan.expect_none(lambda f: UDP in f)


@pytest.mark.parametrize("destination", ["224.0.0.5", "239.1.1.1"])
def test_no_error_about_a_multicast(stations, destination):
    stations.lan.say(udp(destination, ttl=1))
    stations.lan.expect_none(error())


@pytest.mark.parametrize("source", ["0.0.0.0", "127.0.0.1", "224.0.0.9", "255.255.255.255"])
def test_no_error_to_a_source_that_is_nobody(stations, source):
    stations.lan.say(udp(SERVER, ttl=1, source=source))
    stations.lan.expect_none(error())


def test_errors_are_rate_limited(stations):
    for number in range(600):
        stations.lan.say(udp(SERVER, ttl=1, id=number))
    errors = stations.lan.collect(error(*TIME_EXCEEDED), seconds=1.0)
    assert 1 <= len(errors) < 360


def test_no_route_is_network_unreachable(stations):
    packet = udp(NOWHERE)
    stations.lan.say(packet)
    quotes(stations.lan.expect(error(UNREACHABLE, 0)), packet)


def test_a_reject_route_says_so_and_a_blackhole_is_silent(stations):
    stations.lan.say(udp("10.21.0.1"))
    stations.lan.expect_none(error())
    stations.lan.say(udp("10.20.0.1"))
    assert stations.lan.expect(error(UNREACHABLE))[ICMP].code in (1, 13)


def test_a_large_packet_that_may_not_be_fragmented_learns_the_mtu(stations):
    packet = udp(THIN, size=1400, flags="DF")
    stations.lan.say(packet)
    answer = stations.lan.expect(error(UNREACHABLE, 4))
    assert answer[ICMP].nexthopmtu == 1280 and valid(answer)
    quotes(answer, packet)
    stations.thin.expect_none(lambda f: UDP in f)


def test_a_packet_of_exactly_the_mtu_passes(stations):
    stations.lan.say(udp(THIN, size=1280 - 28, flags="DF"))
    stations.thin.expect(lambda f: UDP in f and f[IP].len == 1280)


@pytest.mark.parametrize("address", ["10.0.1.1", "10.0.2.1"])
def test_udp_to_the_router_finds_no_port(stations, address):
    packet = udp(address)
    stations.lan.say(packet)
    answer = stations.lan.expect(error(UNREACHABLE, 3))
    assert answer[IP].src == address
    quotes(answer, packet)


def test_tcp_to_the_router_is_reset(stations):
    stations.lan.say(IP(src=CLIENT, dst="10.0.1.1") / TCP(sport=4000, dport=22, flags="S", seq=99))
    answer = stations.lan.expect(lambda f: TCP in f)
    assert answer[TCP].flags == "RA" and answer[TCP].ack == 100
    assert (answer[TCP].sport, answer[TCP].dport) == (22, 4000)


def test_a_packet_from_an_own_address_to_itself_makes_no_packet(stations):
    land = IP(src="10.0.1.1", dst="10.0.1.1") / TCP(sport=80, dport=80, flags="S")
    stations.lan.say(land)
    stations.lan.expect_none(lambda f: TCP in f)
