"""Several workers: queues and ports shared out over cores."""

import os

import pytest

from lab import Pair, Stream

CORES = sorted(os.sched_getaffinity(0))[:2]
needs_two_cores = pytest.mark.skipif(len(CORES) < 2, reason="this machine has a single core")
pytestmark = needs_two_cores


@pytest.mark.alone
def test_two_ports_on_different_workers(pair):
    pair.server.iperf_server()
    with pair.sluice(cores=CORES, lan_options="workers: [0]", wan_options="workers: [1]") as sluice:
        assert pair.client.ping("10.0.2.2", count=20).received == 20
        assert pair.client.ping("fd00:2::2", count=20).received == 20
        assert pair.client.iperf("10.0.2.2", seconds=1) > 20e6
        assert all(worker["rx"] > 0 for worker in sluice.show("stats")["workers"])
        queues = {row["worker"]: row["queues"] for row in sluice.show("workers")}
        assert queues == {0: [{"port": "lan", "queue": 0}], 1: [{"port": "wan", "queue": 0}]}


@pytest.mark.alone
def test_the_queues_of_a_port_are_shared_out(lab):
    pair = Pair(lab, queues=2)
    two = {
        "lan": "net_af_packet0,iface=lan,qpairs=2",
        "wan": "net_af_packet1,iface=wan,qpairs=2",
        "lan_options": "queues: 2",
        "wan_options": "queues: 2",
    }
    with pair.sluice(cores=CORES, **two) as sluice:
        assert pair.client.reaches("10.0.2.2")
        for port in range(5000, 5016):
            with Stream(pair.client, pair.server, "10.0.2.2", port=port, rate=400) as stream:
                stream.wait_for(20)
            assert stream.lost == [] and stream.in_order
        rx = [worker["rx"] for worker in sluice.show("stats")["workers"]]
        assert len(rx) == 2 and min(rx) > 20, rx


@pytest.mark.alone
def test_a_rule_push_reaches_every_worker(pair):
    with pair.sluice(cores=CORES, lan_options="workers: [0]", wan_options="workers: [1]") as sluice:
        assert pair.client.reaches("10.0.2.2")
        sluice.run("route", "add", "10.77.0.0/16", "blackhole")
        assert sluice.wait_until(
            lambda: {w["generation"] for w in sluice.show("workers")} == {sluice.generation}
        )
