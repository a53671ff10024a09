"""Frames of 9,000 bytes."""

import pytest

from lab import Pair, Sluice, pair_configuration


@pytest.fixture
def pair(lab):
    return Pair(lab, mtu=9000)


def test_9000_bytes_pass_af_packet_both_ways(pair):
    with pair.sluice(mtu=9000) as sluice:
        for address, header in (("10.0.2.2", 28), ("fd00:2::2", 48)):
            for size in (9000, 8999, 5000, 1501):
                pings = pair.client.ping(address, "-M", "do", "-s", size - header)
                assert pings.received == 3, f"{size} bytes to {address}"
        for address, header in (("10.0.1.1", 28), ("fd00:1::1", 48)):
            assert pair.client.ping(address, "-M", "do", "-s", 9000 - header).received == 3
        assert sluice.drops()["super-packet"] == 0


def test_tcp_with_jumbo_segments(pair):
    pair.server.iperf_server()
    with pair.sluice(mtu=9000):
        assert pair.client.iperf("10.0.2.2", seconds=1) > 50e6


def test_what_the_device_cannot_carry_is_refused_by_name(pair):
    configuration = pair_configuration(mtu=9000, lan="net_af_xdp0,iface=lan")
    with pytest.raises(AssertionError, match="ended by itself") as refused:
        with Sluice(pair.router, configuration):
            pass
    assert "lan" in str(refused.value) and "9000" in str(refused.value)
