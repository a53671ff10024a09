"""ARP both ways (RFC 826, RFC 1122 section 2.3.2, RFC 5227)."""

import itertools

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether

from lab import Sluice, pair_configuration

BROADCAST = "ff:ff:ff:ff:ff:ff"
_strangers = itertools.count(100)


@pytest.fixture
def stranger():
    """An address on lan of which the router knows nothing."""
    return f"10.0.1.{next(_strangers)}"


def request(wire, target, source="10.0.1.2", to=BROADCAST, **fields):
    return Ether(src=wire.mac, dst=to) / ARP(
        op=1, hwsrc=wire.mac, psrc=source, pdst=target, hwdst="00:00:00:00:00:00", **fields
    )


def reply(wire, address, mac, **fields):
    return Ether(src=mac, dst=wire.peer) / ARP(
        op=2, hwsrc=mac, psrc=address, hwdst=wire.peer, pdst="10.0.1.1", **fields
    )


def arp(op, **fields):
    """Whether a frame is ARP of one operation, with these fields."""
    return lambda frame: (
        ARP in frame
        and frame[ARP].op == op
        and all(getattr(frame[ARP], key) == value for key, value in fields.items())
    )


def udp(destination, **fields):
    return IP(src="10.0.2.2", dst=destination, **fields) / UDP(sport=1, dport=2)


def neighbours(stations):
    return {row["address"]: row for row in stations.sluice.show("neighbours")}


def test_a_request_for_an_own_address_is_answered(stations):
    stations.lan.send(request(stations.lan, "10.0.1.1"))
    frame = stations.lan.expect(arp(2))
    answer = frame[ARP]
    assert (frame.src, frame.dst) == (stations.lan.peer, stations.lan.mac)
    assert (answer.hwlen, answer.plen) == (6, 4)
    assert (answer.hwsrc, answer.psrc) == (stations.lan.peer, "10.0.1.1")
    assert (answer.hwdst, answer.pdst) == (stations.lan.mac, "10.0.1.2")


def test_a_probe_for_an_own_address_is_answered(stations):
    stations.lan.send(request(stations.lan, "10.0.1.1", source="0.0.0.0"))
    assert stations.lan.expect(arp(2))[ARP].psrc == "10.0.1.1"


@pytest.mark.parametrize("target", ["10.0.1.77", "10.0.2.1", "10.0.2.2", "192.0.2.1"])
def test_a_request_for_any_other_address_is_not(stations, target):
    stations.lan.send(request(stations.lan, target))
    stations.lan.expect_none(arp(2))


@pytest.mark.parametrize("field", [{"hwlen": 8}, {"plen": 16}, {"op": 0}, {"op": 65535}])
def test_odd_arp_is_ignored(stations, field):
    frame = request(stations.lan, "10.0.1.1")
    for key, value in field.items():
        setattr(frame[ARP], key, value)
    stations.lan.send(frame)
    stations.lan.expect_none(lambda f: ARP in f)


def test_a_packet_waits_for_the_answer(stations, stranger):
    stations.wan.say(udp(stranger, id=1))
    asked = stations.lan.expect(arp(1, pdst=stranger))
    assert (asked.dst, asked[ARP].psrc) == (BROADCAST, "10.0.1.1")
    stations.lan.send(reply(stations.lan, stranger, "02:00:00:00:01:99"))
    frame = stations.lan.expect(lambda f: UDP in f and f[IP].dst == stranger)
    assert frame.dst == "02:00:00:00:01:99"


def test_a_mute_neighbour_is_asked_once_a_second(stations, stranger):
    for number in range(300):
        stations.wan.say(udp(stranger, id=number))
    asked = stations.lan.collect(arp(1, pdst=stranger), seconds=2.0)
    assert 1 <= len(asked) <= 5


def test_the_sender_hears_of_a_mute_neighbour(stations, stranger):
    stations.wan.say(udp(stranger))
    error = stations.wan.expect(lambda f: ICMP in f and f[ICMP].type == 3, seconds=6.0)
    assert error[ICMP].code == 1
    assert error[IP].dst == "10.0.2.2"


def test_a_known_neighbour_that_moves_is_followed_at_once(stations, stranger):
    old, new = "02:00:00:00:01:aa", "02:00:00:00:01:bb"
    stations.wan.say(udp(stranger))
    stations.lan.expect(arp(1, pdst=stranger))
    stations.lan.send(reply(stations.lan, stranger, old))
    stations.lan.expect(lambda f: UDP in f and f.dst == old)
    gratuitous = ARP(op=1, hwsrc=new, psrc=stranger, pdst=stranger)
    stations.lan.send(Ether(src=new, dst=BROADCAST) / gratuitous)
    assert stations.sluice.wait_until(lambda: neighbours(stations)[stranger]["mac"] == new, 2.0)
    stations.wan.say(udp(stranger))
    stations.lan.expect(lambda f: UDP in f and f.dst == new)


def test_gratuitous_arp_of_a_stranger_fills_no_table(stations, stranger):
    mac = "02:00:00:00:01:cc"
    for op in (1, 2):
        gratuitous = ARP(op=op, hwsrc=mac, psrc=stranger, pdst=stranger)
        stations.lan.send(Ether(src=mac, dst=BROADCAST) / gratuitous)
    stations.lan.send(request(stations.lan, "10.0.1.1"))
    stations.lan.expect(arp(2, psrc="10.0.1.1"))  # by now the others have been looked at
    assert stranger not in neighbours(stations)


def test_flush_forgets_what_was_learnt_and_keeps_what_was_configured(stations, stranger):
    stations.wan.say(udp(stranger))
    stations.lan.expect(arp(1, pdst=stranger))
    stations.lan.send(reply(stations.lan, stranger, "02:00:00:00:01:dd"))
    assert stations.sluice.wait_until(
        lambda: neighbours(stations).get(stranger, {}).get("state") == "reachable", 2.0
    )
    stations.sluice.run("neighbour", "flush", "--interface", "lan")
    assert stations.sluice.wait_until(lambda: stranger not in neighbours(stations), 2.0)
    assert neighbours(stations)["10.0.1.2"]["state"] == "static"


def test_the_router_introduces_itself_at_start(lab):
    router = lab.namespace()
    lan = lab.wire(router, "lan")
    lab.wire(router, "wan")
    with Sluice(router, pair_configuration()):
        frame = lan.expect(lambda f: ARP in f and f[ARP].psrc == f[ARP].pdst == "10.0.1.1")
        assert frame.dst == BROADCAST and frame[ARP].hwsrc == lan.peer


def test_tcpdump_on_the_hosts_sees_both_ways(pair):
    with pair.client.captured("arp") as client, pair.server.captured("arp") as server:
        with pair.sluice():
            assert pair.client.reaches("10.0.2.2")
    assert any("Request who-has 10.0.1.1 tell 10.0.1.2" in line for line in client), client
    assert any("Reply 10.0.1.1 is-at" in line for line in client), client
    assert any("Request who-has 10.0.2.2 tell 10.0.2.1" in line for line in server), server
    assert any("Reply 10.0.2.2 is-at" in line for line in server), server
