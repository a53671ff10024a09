"""Neighbour discovery both ways (RFC 4861)."""

import itertools
from socket import AF_INET6

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    in6_getnsma,
    in6_getnsmac,
    inet_ntop,
    inet_pton,
)
from scapy.layers.l2 import Ether

ROUTER = "fd00:1::1"
_strangers = itertools.count(0x100)


@pytest.fixture
def stranger():
    """An address on lan of which the router knows nothing."""
    return f"fd00:1::{next(_strangers):x}"


def solicited_node(address):
    """The multicast address, and its MAC, at which a neighbour solicitation is sent."""
    group = in6_getnsma(inet_pton(AF_INET6, address))
    return inet_ntop(AF_INET6, group), in6_getnsmac(group)


def solicitation(wire, target=ROUTER, source="fd00:1::2", to=None, option=None, hlim=255, **fields):
    group, mac = solicited_node(ROUTER)
    packet = IPv6(src=source, dst=to or group, hlim=hlim) / ICMPv6ND_NS(tgt=target, **fields)
    if source != "::":
        packet /= option or ICMPv6NDOptSrcLLAddr(lladdr=wire.mac)
    return Ether(src=wire.mac, dst=mac if to is None else wire.peer) / packet


def advertisement(wire, address, mac):
    return (
        Ether(src=mac, dst=wire.peer)
        / IPv6(src=address, dst=ROUTER, hlim=255)
        / ICMPv6ND_NA(tgt=address, R=0, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=mac)
    )


def advertised(frame):
    return ICMPv6ND_NA in frame


def udp(destination):
    return IPv6(src="fd00:2::2", dst=destination) / UDP(sport=1, dport=2)


def test_a_solicitation_for_an_own_address_is_answered(stations):
    stations.lan.send(solicitation(stations.lan))
    frame = stations.lan.expect(advertised)
    answer = frame[ICMPv6ND_NA]
    assert (frame[IPv6].src, frame[IPv6].dst, frame[IPv6].hlim) == (ROUTER, "fd00:1::2", 255)
    assert (answer.R, answer.S, answer.O, answer.tgt) == (1, 1, 1, ROUTER)
    assert answer[ICMPv6NDOptDstLLAddr].lladdr == stations.lan.peer
    assert frame.dst == stations.lan.mac


def test_a_duplicate_address_probe_is_answered_to_all_nodes(stations):
    stations.lan.send(solicitation(stations.lan, source="::"))
    frame = stations.lan.expect(advertised)
    assert (frame[IPv6].dst, frame.dst) == ("ff02::1", "33:33:00:00:00:01")
    assert frame[ICMPv6ND_NA].S == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"hlim": 254},
        {"code": 1},
        {"cksum": 0xDEAD},
        {"target": "ff02::1"},
        {"target": "fd00:1::77"},
        {"target": "fd00:2::1"},
        {"option": ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:01:02", len=0)},
    ],
    ids=",".join,
)
def test_a_wrong_solicitation_is_ignored(stations, wrong):
    stations.lan.send(solicitation(stations.lan, **wrong))
    stations.lan.expect_none(advertised)


def test_a_packet_waits_for_the_answer(stations, stranger):
    stations.wan.say(udp(stranger))
    asked = stations.lan.expect(lambda f: ICMPv6ND_NS in f and f[ICMPv6ND_NS].tgt == stranger)
    group, mac = solicited_node(stranger)
    assert (asked[IPv6].dst, asked.dst, asked[IPv6].hlim) == (group, mac, 255)
    assert asked[ICMPv6NDOptSrcLLAddr].lladdr == stations.lan.peer
    stations.lan.send(advertisement(stations.lan, stranger, "02:00:00:00:01:99"))
    frame = stations.lan.expect(lambda f: UDP in f and f[IPv6].dst == stranger)
    assert frame.dst == "02:00:00:00:01:99"


def test_a_mute_neighbour_is_asked_three_times_and_then_unreachable(stations, stranger):
    stations.wan.say(udp(stranger))
    asked = stations.lan.collect(
        lambda f: ICMPv6ND_NS in f and f[ICMPv6ND_NS].tgt == stranger, seconds=4.5
    )
    assert len(asked) == 3
    error = stations.wan.expect(lambda f: ICMPv6DestUnreach in f)
    assert error[ICMPv6DestUnreach].code == 3


def test_an_unsolicited_advertisement_of_a_stranger_fills_no_table(stations, stranger):
    stations.lan.send(advertisement(stations.lan, stranger, "02:00:00:00:01:cc"))
    stations.lan.send(solicitation(stations.lan))
    stations.lan.expect(advertised)  # by now the other has been looked at
    assert stranger not in {row["address"] for row in stations.sluice.show("neighbours")}


def test_tcpdump_on_the_hosts_sees_both_ways(pair):
    with pair.client.captured("icmp6") as client, pair.server.captured("icmp6") as server:
        with pair.sluice() as sluice:
            assert pair.client.reaches("fd00:2::2")
            states = {row["address"]: row["state"] for row in sluice.show("neighbours")}
            assert states["fd00:2::2"] == "reachable"
            assert "REACHABLE" in pair.client.run("ip", "-6", "neigh", "show", "fd00:1::1").stdout
    assert any("neighbor solicitation, who has fd00:1::1" in line for line in client), client
    assert any("neighbor advertisement, tgt is fd00:1::1" in line for line in client), client
    assert any("neighbor solicitation, who has fd00:2::2" in line for line in server), server
    assert any("neighbor advertisement, tgt is fd00:2::2" in line for line in server), server
