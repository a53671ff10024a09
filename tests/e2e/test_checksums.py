"""What a port does with the checksums of hosts that leave them to their hardware."""

import pytest
from scapy.layers.inet import IP, TCP, UDP, in4_pseudoheader
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

PAYLOAD = Raw(b"left to the hardware")


def folded(data):
    """The ones' complement sum of some bytes, not complemented."""
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def with_partial_sum(packet):
    """The packet as a Linux host hands it over: only the pseudo-header summed."""
    transport = TCP if TCP in packet else UDP
    length, protocol = len(packet[transport]), 6 if transport is TCP else 17
    if IP in packet:
        pseudo = in4_pseudoheader(protocol, packet[IP], length)
    else:
        pseudo = bytes(packet)[8:40] + length.to_bytes(4, "big") + protocol.to_bytes(4, "big")
    packet[transport].chksum = folded(pseudo)
    return packet


HEADERS = [IP(src="10.0.1.2", dst="10.0.2.2"), IPv6(src="fd00:1::2", dst="fd00:2::2")]


@pytest.mark.parametrize("header", HEADERS, ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("transport", [TCP(sport=4000, dport=5000), UDP(sport=4000, dport=5000)])
def test_a_partial_sum_is_completed(stations, header, transport):
    kind = type(transport)
    right = kind(bytes(header / transport / PAYLOAD)[len(header) :]).chksum
    stations.lan.say(with_partial_sum(header / transport / PAYLOAD))
    frame = stations.wan.expect(lambda f: kind in f)
    assert frame[kind].chksum == right


def test_a_wrong_sum_is_none_of_the_routers_business(stations):
    stations.lan.say(IP(src="10.0.1.2", dst="10.0.2.2") / UDP(dport=5000, chksum=0xBAD) / PAYLOAD)
    assert stations.wan.expect(lambda f: UDP in f)[UDP].chksum == 0xBAD


def test_a_udp_sum_of_zero_stays_zero(stations):
    stations.lan.say(IP(src="10.0.1.2", dst="10.0.2.2") / UDP(dport=5000, chksum=0) / PAYLOAD)
    assert stations.wan.expect(lambda f: UDP in f)[UDP].chksum == 0


def test_an_answer_to_a_partial_sum_quotes_it_completed(stations):
    packet = with_partial_sum(
        IP(src="10.0.1.2", dst="10.0.2.2", ttl=1) / UDP(sport=4000, dport=5000) / PAYLOAD
    )
    right = UDP(
        bytes(IP(src="10.0.1.2", dst="10.0.2.2") / UDP(sport=4000, dport=5000) / PAYLOAD)[20:]
    ).chksum
    stations.lan.say(packet)
    error = stations.lan.expect(lambda f: IP in f and f[IP].proto == 1)
    assert bytes(error[IP])[28 + 26 : 28 + 28] == right.to_bytes(2, "big")
