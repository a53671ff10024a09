"""Stopping gives everything back, and starting again works."""

import signal
import time

import pytest


def test_sigterm_in_the_middle_of_traffic(pair):
    with pair.sluice() as sluice:
        flood = pair.client.start("ping", "-n", "-q", "-i", "0.002", "10.0.2.2")
        assert sluice.wait_until(lambda: sluice.port("lan")["rx_packets"] > 100)
        sluice.down()  # checks: exit status 0, nothing running, interfaces as they were
        flood.kill()
        assert not pair.client.reaches("10.0.2.2")
        sluice.up()
        assert pair.client.reaches("10.0.2.2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_both_signals_end_it_cleanly(pair, number):
    sluice = pair.sluice()
    try:
        sluice.up()
        sluice.down(number)
    finally:
        sluice.discard()


def test_interfaces_that_were_down_or_odd_are_given_back_so(pair):
    pair.router.run("ip", "link", "set", "lan", "down")
    pair.router.run("ip", "link", "set", "wan", "promisc", "on", "arp", "off")
    pair.router.sysctl("net/ipv6/conf/wan/disable_ipv6", 1)
    with pair.sluice(lan_options="mac: 02:00:00:00:77:01"):
        assert pair.client.reaches("10.0.2.2"), "a port is brought up"


def test_after_sigkill_it_starts_again(pair):
    sluice = pair.sluice()
    try:
        sluice.up()
        sluice.kill()
        sluice.up()
        assert pair.client.reaches("10.0.2.2")
        assert pair.client.reaches("fd00:2::2")
    finally:
        sluice.discard()


def test_the_kernel_of_the_router_keeps_quiet(pair):
    """Without Sluice's care it would announce itself (MLD, ND) and answer in Sluice's name."""
    with pair.sluice():
        with pair.client.captured("-Q", "in", "ip6 or icmp") as seen:
            assert pair.client.ping("10.0.1.1", count=5).received == 5
            assert pair.client.ping("fd00:1::1", count=5).received == 5
            time.sleep(1.0)
    chatter = ("listener report", "router solicitation")
    assert not [line for line in seen if any(words in line for words in chatter)]
    replies = [line for line in seen if "echo reply" in line]
    assert len(replies) == 10, "one answer each"
