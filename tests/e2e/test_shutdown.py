"""Stopping gives everything back, and starting again works."""

import os
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


def handed_out(sluice):
    """Packets that one worker gave to another."""
    return sum(row["handed_out"] for row in sluice.show("stats")["workers"])


@pytest.mark.alone
def test_what_is_between_two_workers_at_the_end_is_accounted_for(pair):
    """Each port is one worker's, so that what goes from one to the other is handed over."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("this machine has a single core")
    apart = {"lan_options": "workers: [0]", "wan_options": "workers: [1]"}
    for _ in range(3):
        with pair.sluice(cores=cores, **apart) as sluice:
            floods = [
                pair.client.start("ping", "-n", "-q", "-f", "-l", "50", "-s", size, "10.0.2.2")
                for size in ("64", "512")
            ]
            assert sluice.wait_until(lambda: handed_out(sluice) > 1000)
            sluice.down()
            for flood in floods:
                flood.kill()
                flood.wait()
            assert "dataplane is down" in sluice.log
            assert "not accounted for" not in sluice.log, "the programs check it themselves"
            assert "lost between workers" not in sluice.log


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
