"""VLAN subinterfaces (802.1Q)."""

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from lab import Lab, Sluice, worker_core

CONFIGURATION = f"""\
dataplane: {{ cores: [{worker_core()}], memory: 256 }}
ports:
  trunk:
    device: net_af_packet0,iface=trunk
    addresses: [10.0.1.1/24]
    vlans:
      10: {{ addresses: [10.0.10.1/24, "fd00:10::1/64"] }}
      20: {{ addresses: [10.0.20.1/24], mtu: 1400 }}
neighbours:
  - {{ interface: trunk, address: 10.0.1.2, mac: "02:00:00:00:01:02" }}
  - {{ interface: trunk.10, address: 10.0.10.2, mac: "02:00:00:00:01:02" }}
  - {{ interface: trunk.10, address: "fd00:10::2", mac: "02:00:00:00:01:02" }}
  - {{ interface: trunk.20, address: 10.0.20.2, mac: "02:00:00:00:01:02" }}
"""


@pytest.fixture(scope="module")
def trunk():
    with Lab() as lab:
        router = lab.namespace()
        wire = lab.wire(router, "trunk", mac="02:00:00:00:01:02")
        with Sluice(router, CONFIGURATION) as wire.sluice:
            yield wire


def tagged(wire, *vlans, **tag):
    """Ethernet and VLAN headers towards the router."""
    header = Ether(src=wire.mac, dst=wire.peer)
    for vlan in vlans:
        header /= Dot1Q(vlan=vlan, **tag)
    return header


def echo_reply(frame):
    return ICMP in frame and frame[ICMP].type == 0


def test_a_packet_is_routed_from_one_vlan_to_another(trunk):
    trunk.send(tagged(trunk, 10) / IP(src="10.0.10.2", dst="10.0.20.2", ttl=9) / UDP(dport=5))
    frame = trunk.expect(lambda f: UDP in f)
    assert frame[Dot1Q].vlan == 20 and frame[IP].ttl == 8


def test_a_packet_is_routed_from_a_vlan_to_the_untagged_network_and_back(trunk):
    trunk.send(tagged(trunk, 10) / IP(src="10.0.10.2", dst="10.0.1.2") / UDP(dport=5))
    assert Dot1Q not in trunk.expect(lambda f: UDP in f)
    trunk.send(tagged(trunk) / IP(src="10.0.1.2", dst="10.0.10.2") / UDP(dport=5))
    assert trunk.expect(lambda f: UDP in f)[Dot1Q].vlan == 10


def test_the_routers_addresses_answer_in_their_vlan(trunk):
    trunk.send(tagged(trunk, 20) / IP(src="10.0.20.2", dst="10.0.20.1") / ICMP())
    assert trunk.expect(echo_reply)[Dot1Q].vlan == 20
    trunk.send(tagged(trunk, 10) / IPv6(src="fd00:10::2", dst="fd00:10::1") / ICMPv6EchoRequest())
    assert trunk.expect(lambda f: ICMPv6EchoReply in f)[Dot1Q].vlan == 10


def test_arp_is_answered_in_its_vlan_only(trunk):
    ask = ARP(op=1, hwsrc=trunk.mac, psrc="10.0.10.9", pdst="10.0.10.1")
    trunk.send(Ether(src=trunk.mac, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=10) / ask)
    assert trunk.expect(lambda f: ARP in f and f[ARP].op == 2)[Dot1Q].vlan == 10
    trunk.send(Ether(src=trunk.mac, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=20) / ask)
    trunk.expect_none(lambda f: ARP in f and f[ARP].op == 2)


def test_priority_is_not_carried_over_and_a_priority_tag_is_no_vlan(trunk):
    packet = IP(src="10.0.10.2", dst="10.0.20.2") / UDP(dport=5)
    trunk.send(tagged(trunk, 10, prio=5, id=1) / packet)
    tag = trunk.expect(lambda f: UDP in f)[Dot1Q]
    assert (tag.prio, tag.id) == (0, 0)
    trunk.send(tagged(trunk, 0, prio=5) / IP(src="10.0.1.2", dst="10.0.1.1") / ICMP())
    trunk.expect(echo_reply)


@pytest.mark.parametrize(("vlans", "reason"), [((30,), "vlan-unknown"), ((10, 20), "vlan-stacked")])
def test_other_tags_are_dropped_by_name(trunk, vlans, reason):
    before = trunk.sluice.drops()[reason]
    trunk.send(tagged(trunk, *vlans) / IP(src="10.0.10.2", dst="10.0.10.1") / ICMP())
    trunk.expect_none(echo_reply)
    assert trunk.sluice.drops()[reason] == before + 1


def test_the_mtu_is_the_vlans_own(trunk):
    packet = IP(src="10.0.10.2", dst="10.0.20.2", flags="DF") / UDP(dport=5) / (b"x" * 1400)
    trunk.send(tagged(trunk, 10) / packet)
    error = trunk.expect(lambda f: ICMP in f and f[ICMP].type == 3)
    assert (error[ICMP].nexthopmtu, error[Dot1Q].vlan) == (1400, 10)
