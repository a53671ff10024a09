"""The stateful filter: what is of a connection passes, what is not does not. The numbers are those
of the conformance list, section E. The table has room for 1,024 connections throughout."""

import itertools
import random
import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.packet import Raw

from lab import Lab, Stations

STATEFUL = """
filters:
  forward:
    stateful: true
    default: drop
    rules:
      - { name: ssh, in: lan, protocol: tcp, destination-port: 22, action: drop }
      - { name: no, in: lan, protocol: tcp, destination-port: 23, action: reject }
      - { name: out, in: lan, action: accept }
      - { name: published, in: wan, protocol: tcp, destination: [10.0.1.2, "fd00:1::2"],
          destination-port: 8080, action: accept }
      - { name: sentinel, in: wan, protocol: udp, destination-port: 7, action: accept }
"""
INSIDE, OUTSIDE, OTHER = "10.0.1.2", "10.0.2.2", "10.0.2.3"
INSIDE6, OUTSIDE6 = "fd00:1::2", "fd00:2::2"
ports = itertools.count(20_000)
marks = itertools.count(1)


@pytest.fixture(scope="module")
def stations():
    with Lab() as lab, Stations(lab, limits="{ flows: 1024 }") as stations:
        stations.configure(STATEFUL)
        yield stations


def pause(seconds):
    """Nothing is said for so long."""
    time.sleep(seconds)


class Side:
    """One side of the firewall: says packets, and knows which of them came out on the other."""

    def __init__(self, own, other, address, router):
        self.own, self.other, self.address, self.router = own, other, address, router

    def say(self, *packets):
        """Sends packets; what comes out on the other side up to a packet that surely does."""
        source, destination = (INSIDE, OUTSIDE) if self.address == INSIDE else (OUTSIDE, INSIDE)
        sentinel = IP(src=source, dst=destination) / UDP(sport=next(ports), dport=7)
        sentinel = sentinel / Raw(b"sentinel %d" % next(marks))
        self.own.say(*packets, sentinel)
        came = []
        for frame in self.other.frames(10):
            if bytes(sentinel[Raw]) in bytes(frame):
                return came
            came.append(frame)
        raise AssertionError("not even the sentinel came through")

    def passes(self, *packets):
        """All of these come out, in order, and nothing else does."""
        came = self.say(*packets)
        assert [mark(frame) for frame in came] == [mark(packet) for packet in packets]
        return came

    def brings(self, pieces):
        """All of these come out, in whatever order."""
        self.own.say(*pieces)
        wanted, came = {piece[IP].frag for piece in pieces}, set()
        for frame in self.other.frames(10):
            if IP in frame and frame[IP].id == pieces[0][IP].id:
                came.add(frame[IP].frag)
            if came == wanted:
                return
        raise AssertionError(f"of the pieces at {wanted} there came {came}")

    def stops(self, *packets):
        """None of these come out, and nobody is told."""
        assert self.say(*packets) == []
        assert self.told() == []

    def told(self):
        """What the sender heard, up to the router's answer to a ping."""
        number = next(marks) & 0xFFFF
        self.own.say(IP(src=self.address, dst=self.router) / ICMP(id=77, seq=number))
        heard = []
        for frame in self.own.frames(10):
            if ICMP in frame and (frame[ICMP].type, frame[ICMP].seq) == (0, number):
                return heard
            heard.append(frame)
        raise AssertionError("the router does not answer")


def mark(packet):
    """What is told apart by: the IPv4 identification, the IPv6 flow label."""
    return packet[IPv6].fl if IPv6 in packet else packet[IP].id


def ip(src, dst, **fields):
    """An IP header with a mark of its own."""
    number = next(marks)
    if ":" in src:
        return IPv6(src=src, dst=dst, fl=number & 0xFFFFF, **fields)
    return IP(src=src, dst=dst, id=number & 0xFFFF, **fields)


@pytest.fixture
def inside(stations):
    return Side(stations.lan, stations.wan, INSIDE, "10.0.1.1")


@pytest.fixture
def outside(stations):
    return Side(stations.wan, stations.lan, OUTSIDE, "10.0.2.1")


class Tcp:
    """A connection from inside, as both hosts see it."""

    def __init__(self, inside, outside, client=INSIDE, server=OUTSIDE, port=80, sport=None):
        self.inside, self.outside = inside, outside
        self.client, self.server = client, server
        self.sport, self.port = sport or next(ports), port
        self.next = random.Random(self.sport).getrandbits(32)
        self.there = random.Random(self.sport + 1).getrandbits(32)

    def out(self, flags, data=b"", seq=None, ack=None, **fields):
        """A segment of the client."""
        seq = self.next if seq is None else seq
        ack = (self.there if "A" in flags else 0) if ack is None else ack
        fields = {"window": 8192, **fields}
        return (
            ip(self.client, self.server)
            / TCP(
                sport=self.sport,
                dport=self.port,
                flags=flags,
                seq=seq & 0xFFFFFFFF,
                ack=ack & 0xFFFFFFFF,
                **fields,
            )
            / Raw(data)
        )

    def back(self, flags, data=b"", seq=None, ack=None, **fields):
        """A segment of the server."""
        seq = self.there if seq is None else seq
        ack = (self.next if "A" in flags else 0) if ack is None else ack
        fields = {"window": 8192, **fields}
        return (
            ip(self.server, self.client)
            / TCP(
                sport=self.port,
                dport=self.sport,
                flags=flags,
                seq=seq & 0xFFFFFFFF,
                ack=ack & 0xFFFFFFFF,
                **fields,
            )
            / Raw(data)
        )

    def open(self):
        """The three of the handshake."""
        self.inside.passes(self.out("S"))
        self.next += 1
        self.outside.passes(self.back("SA"))
        self.there += 1
        self.inside.passes(self.out("A"))
        return self

    def talks(self):
        """Data passes both ways."""
        self.inside.passes(self.out("PA", b"x" * 100))
        self.next += 100
        self.outside.passes(self.back("PA", b"y" * 100))
        self.there += 100


@pytest.fixture
def tcp(inside, outside):
    return lambda **fields: Tcp(inside, outside, **fields)


def udp(src, dst, sport, dport, data=b"data"):
    return ip(src, dst) / UDP(sport=sport, dport=dport) / Raw(data)


@pytest.mark.parametrize("client, server", [(INSIDE, OUTSIDE), (INSIDE6, OUTSIDE6)])
def test_96_a_udp_answer_passes_and_no_other(inside, outside, client, server):
    port = next(ports)
    inside.passes(udp(client, server, port, 53))
    outside.passes(udp(server, client, 53, port))
    outside.stops(udp(server, client, 54, port), udp(server, client, 53, port + 1))
    outside.stops(udp(server[:-1] + "3", client, 53, port))
    outside.passes(udp(server, client, 53, port))


@pytest.mark.parametrize("client, server", [(INSIDE, OUTSIDE), (INSIDE6, OUTSIDE6)])
def test_97_nothing_unsolicited_comes_in(outside, client, server):
    echo = ICMPv6EchoRequest(id=5) if ":" in client else ICMP(id=5)
    syn = TCP(sport=next(ports), dport=80, flags="S")
    outside.stops(udp(server, client, 53, 53), ip(server, client) / syn, ip(server, client) / echo)


@pytest.mark.parametrize("client, server", [(INSIDE, OUTSIDE), (INSIDE6, OUTSIDE6)])
def test_98_what_is_published_is_reached_there_alone(inside, outside, client, server):
    port = next(ports)
    syn = TCP(sport=port, dport=8080, flags="S", seq=1)
    outside.passes(ip(server, client) / syn)
    answer = TCP(sport=8080, dport=port, flags="SA", seq=9, ack=2)
    inside.passes(ip(client, server) / answer)
    others = [client[:-1] + "9", client]
    outside.stops(ip(server, others[0]) / syn, ip(server, client) / TCP(dport=8081, flags="S"))


@pytest.mark.parametrize("client, server", [(INSIDE, OUTSIDE), (INSIDE6, OUTSIDE6)])
def test_99_a_connection_from_its_beginning_to_its_end(tcp, inside, outside, client, server):
    one = tcp(client=client, server=server).open()
    one.talks()
    inside.passes(one.out("FA"))
    one.next += 1
    outside.passes(one.back("A"))
    # Half closed: the other side still has something to say.
    outside.passes(one.back("PA", b"z" * 50))
    one.there += 50
    inside.passes(one.out("A"))
    outside.passes(one.back("FA"))
    one.there += 1
    inside.passes(one.out("A"))


def test_99_both_open_at_once(tcp, inside, outside):
    one = tcp()
    inside.passes(one.out("S"))
    outside.passes(one.back("S"))
    one.next, one.there = one.next + 1, one.there + 1
    inside.passes(one.out("SA", seq=one.next - 1))
    outside.passes(one.back("SA", seq=one.there - 1))
    inside.passes(one.out("A"))
    one.talks()


@pytest.mark.parametrize("flags", ["A", "PA", "FA", "R", "RA", "SA"])
def test_100_no_segment_without_a_connection(tcp, inside, outside, flags):
    inside.stops(tcp().out(flags))
    outside.stops(tcp().back(flags))


def test_101_what_is_out_of_the_window_stops_and_the_connection_lives(tcp, inside, outside):
    one = tcp().open()
    one.talks()
    far = 1 << 20
    outside.stops(
        one.back("PA", b"evil", seq=one.there + far),
        one.back("PA", b"evil", seq=one.there - far),
        one.back("PA", b"evil", ack=one.next + far),
        one.back("RA", seq=one.there + far),
    )
    inside.stops(one.out("PA", b"evil", seq=one.next + far))
    one.talks()


def test_101_windows_are_scaled(tcp, inside, outside):
    one = tcp()
    scale = {"options": [("WScale", 7)]}
    inside.passes(one.out("S", **scale))
    one.next += 1
    outside.passes(one.back("SA", **scale))
    one.there += 1
    inside.passes(one.out("A", window=8192))
    ahead = 60_000  # beyond 8,192, within 8,192 << 7
    outside.passes(one.back("PA", b"y", seq=one.there + ahead))
    outside.stops(one.back("PA", b"y", seq=one.there + (8192 << 7) + 10))


def test_102_a_reset_has_to_hit_exactly_and_a_syn_does_no_harm(tcp, inside, outside):
    one = tcp().open()
    outside.stops(one.back("R", seq=one.there + 1000))
    # A host that has forgotten the connection sends a SYN, which the other has to see.
    outside.say(one.back("S", seq=one.there + 1))
    one.talks()
    outside.passes(one.back("R", seq=one.there))
    inside.stops(one.out("PA", b"late", seq=one.next + (1 << 20)))


def error(kind, code, quoted, **fields):
    """An ICMP error of a router outside."""
    head = bytes(IP(bytes(quoted)))[:28]
    return ip(OTHER, INSIDE) / ICMP(type=kind, code=code, **fields) / Raw(head)


def test_103_errors_about_open_connections_pass_and_no_others(tcp, inside, outside):
    one = tcp().open()
    sent = one.out("PA", b"x" * 100)
    inside.passes(sent)
    one.next += 100
    outside.passes(error(3, 4, sent, nexthopmtu=1300), error(11, 0, sent), error(3, 1, sent))
    outside.stops(error(3, 4, tcp().out("PA", b"x"), nexthopmtu=1300))
    outside.stops(error(3, 3, one.out("PA", b"x", seq=one.next + (1 << 20))))
    port = next(ports)
    asked = udp(INSIDE, OUTSIDE, port, 53)
    inside.passes(asked)
    outside.passes(error(3, 3, asked))
    outside.stops(error(3, 3, udp(INSIDE, OUTSIDE, port, 54)))
    one.talks()


def test_103_errors_of_ipv6(inside, outside):
    port = next(ports)
    asked = udp(INSIDE6, OUTSIDE6, port, 53)
    inside.passes(asked)
    about = ip("fd00:2::3", INSIDE6) / ICMPv6PacketTooBig(mtu=1300)
    outside.passes(about / Raw(bytes(asked)))
    other = ip("fd00:2::3", INSIDE6) / ICMPv6PacketTooBig(mtu=1300)
    outside.stops(other / Raw(bytes(udp(INSIDE6, OUTSIDE6, port, 54))))


def pieces(packet, size=64):
    """Its fragments."""
    return fragment(packet, fragsize=size)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
def test_105_fragments_of_what_is_allowed_arrive_in_any_order(inside, outside, order):
    port = next(ports)
    out = pieces(udp(INSIDE, OUTSIDE, port, 53, b"q" * 240))
    inside.brings([out[i] for i in order])
    back = pieces(udp(OUTSIDE, INSIDE, 53, port, b"a" * 240))
    outside.brings([back[i] for i in order])


def test_106_fragments_of_what_is_denied_do_not(outside):
    outside.stops(*pieces(udp(OUTSIDE, INSIDE, 53, next(ports), b"q" * 240)))
    outside.stops(*pieces(udp(OUTSIDE, INSIDE, 53, next(ports), b"q" * 240))[1:])


def test_107_no_tiny_first_fragments(inside, outside):
    whole = bytes(ip(OUTSIDE, INSIDE, proto=6) / TCP(sport=9, dport=8080, flags="S"))[20:]
    first = ip(OUTSIDE, INSIDE, proto=6, flags="MF") / Raw(whole[:8])
    rest = IP(src=OUTSIDE, dst=INSIDE, proto=6, id=first.id, frag=1) / Raw(whole[8:])
    outside.stops(first, rest)
    # A second that would lie over the ports of the first (RFC 3128).
    again = ip(OUTSIDE, INSIDE, proto=6, flags="MF") / Raw(whole + b"x" * 4)
    over = IP(src=OUTSIDE, dst=INSIDE, proto=6, id=again.id, frag=1) / Raw(b"evil" * 4)
    assert len(outside.say(again, over)) <= 1, "the overlapping one does not come"


def test_108_a_flood_of_fragments_leaves_others_alone(tcp, inside, outside):
    one = tcp().open()
    for _ in range(20):
        flood = [
            IP(src=OUTSIDE, dst=INSIDE, proto=17, id=next(marks) & 0xFFFF, frag=8) / Raw(b"f" * 64)
            for _ in range(200)
        ]
        outside.own.say(*flood)
    one.talks()


@pytest.mark.parametrize("flags", ["", "SF", "SR", "FPU", "FSRPAU", "F", "SFA"])
def test_109_no_flags_that_no_host_sends(tcp, inside, outside, flags):
    inside.stops(tcp().out(flags))
    published = ip(OUTSIDE, INSIDE) / TCP(sport=next(ports), dport=8080, flags=flags, seq=1)
    outside.stops(published)


def test_110_a_wrong_checksum_opens_nothing(inside, outside):
    port = next(ports)
    # Neither a sum that is right nor the partial one of a host with checksum offload.
    bad = ip(INSIDE, OUTSIDE) / UDP(sport=port, dport=53, chksum=0xBEEF) / Raw(b"q")
    inside.say(bad)
    outside.stops(udp(OUTSIDE, INSIDE, 53, port))


def test_112_ports_that_were_closed_are_opened_again_at_once(tcp, inside, outside):
    one = tcp().open()
    inside.passes(one.out("FA"))
    one.next += 1
    outside.passes(one.back("FA"))
    one.there += 1
    inside.passes(one.out("A"))
    one.next, one.there = one.next + 100_000, one.there + 500_000
    one.open().talks()


def test_113_timeouts_are_as_configured_and_hot(stations, inside, outside):
    port = next(ports)
    inside.passes(udp(INSIDE, OUTSIDE, port, 53))
    stations.configure(STATEFUL + "flows: { timeouts: { udp: 1s, udp-answered: 1s } }\n")
    try:
        closed = stations.sluice.wait_until(
            lambda: outside.say(udp(OUTSIDE, INSIDE, 53, port)) == [] or pause(1.5), 30
        )
        assert closed, "a second of silence ends it"
    finally:
        stations.configure(STATEFUL)
    inside.passes(udp(INSIDE, OUTSIDE, port, 53))
    pause(1.5)
    outside.passes(udp(OUTSIDE, INSIDE, 53, port))


def test_114_reject_tells_and_drop_does_not(tcp, inside):
    syn = tcp(port=23).out("S")
    assert inside.say(syn) == []
    heard = [frame for frame in inside.told() if TCP in frame]
    assert [str(frame[TCP].flags) for frame in heard] == ["RA"]
    inside.stops(tcp(port=22).out("S"))


def test_115_a_commit_judges_open_connections_as_open(stations, tcp, inside, outside):
    one = tcp().open()
    port = next(ports)
    inside.passes(udp(INSIDE, OUTSIDE, port, 53))
    # The rule goes: nothing new, and what is open goes on.
    fewer = "name: out, in: lan, protocol: udp, destination-port: 7"
    stations.configure(STATEFUL.replace("name: out, in: lan", fewer))
    try:
        one.talks()
        inside.stops(tcp().out("S"))
        # A drop in a filter that is not stateful ends it, in the direction that it names.
        end = f"{{ protocol: tcp, source: {INSIDE}, action: drop }}"
        stations.configure(STATEFUL + f"  ingress: {{ rules: [{end}] }}\n")
        inside.stops(one.out("PA", b"x"))
        outside.passes(one.back("PA", b"x"))
    finally:
        stations.configure(STATEFUL)
    one.there += 1
    one.talks()


def test_115_there_is_never_a_moment_without_a_policy(stations, outside):
    """Unsolicited packets all the time, commits all the time: none comes through."""
    other = STATEFUL.replace("default: drop", "default: reject")
    for more in (other, STATEFUL, other, STATEFUL):
        probes = [udp(OUTSIDE, INSIDE, 9, next(ports)) for _ in range(50)]
        outside.own.say(*probes)
        stations.configure(more)
        assert outside.say(*[udp(OUTSIDE, INSIDE, 9, next(ports)) for _ in range(50)]) == []


def test_116_ports_are_seen_behind_extension_headers(inside):
    def stack(*headers):
        packet = ip(INSIDE6, OUTSIDE6)
        for header in headers:
            packet /= header
        return packet / TCP(sport=next(ports), dport=22, flags="S")

    inside.stops(
        stack(IPv6ExtHdrHopByHop()),
        stack(IPv6ExtHdrDestOpt()),
        stack(IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()),
        stack(IPv6ExtHdrFragment(id=7)),
        stack(IPv6ExtHdrHopByHop(), IPv6ExtHdrFragment(id=8), IPv6ExtHdrDestOpt()),
    )
    allowed = ip(INSIDE6, OUTSIDE6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt()
    inside.passes(allowed / TCP(sport=next(ports), dport=24, flags="S"))


def test_drops_and_counters_name_the_keyword(stations, outside, tcp):
    before = stations.sluice.drops()["invalid-state"]
    outside.stops(tcp().back("A"))
    assert stations.sluice.drops()["invalid-state"] == before + 1
    row = next(r for r in stations.sluice.show("drops") if r["reason"] == "invalid-state")
    assert [rule["name"] for rule in row["rules"]] == ["stateful:invalid"]
    assert stations.sluice.rules()["stateful:established"] > 0
    said = stations.sluice.run(
        *("explain", "--in", "wan", "--src", OUTSIDE, "--dst", INSIDE),
        *("--sport", "80", "--dport", "9", "--tcp-flags", "ack"),
    ).stdout
    assert "stateful:invalid" in said and "dropped, invalid-state" in said


def test_a_rule_allows_a_source_so_many_connections(stations, inside):
    few = "{ name: few, in: lan, protocol: udp, destination-port: 99, action: accept, limit: %s }"
    rules = STATEFUL.replace("- { name: ssh", "- %s\n      - { name: ssh" % few)
    stations.configure(rules % "{ flows-per-source: 3 }")
    try:
        before = stations.sluice.drops()["rule-limit"]
        sources = [next(ports) for _ in range(5)]
        asked = [udp(INSIDE, OUTSIDE, port, 99) for port in sources]
        assert [mark(frame) for frame in inside.say(*asked)] == [mark(p) for p in asked[:3]]
        assert stations.sluice.drops()["rule-limit"] == before + 2
        inside.passes(*(udp(INSIDE, OUTSIDE, port, 99) for port in sources[:3]))
    finally:
        stations.configure(STATEFUL)
