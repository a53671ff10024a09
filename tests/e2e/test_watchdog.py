"""Threads stand still, packets crash the dataplane: it is said, and the rest goes on."""

import json
import os
import re
import signal
import time

import pytest

from lab import Stream, datagram, threads
from lab.load import slowness

CORES = sorted(os.sched_getaffinity(0))[:2]
# Each port is one worker's alone.
TWO = {
    "lan_options": "workers: [0]\nspread: false",
    "wan_options": "workers: [1]\nspread: false",
}
needs_two_cores = pytest.mark.skipif(len(CORES) < 2, reason="this machine has a single core")
POISON = 6666


def stalled(sluice, worker):
    """Whether a worker is reported to stand still."""
    rows = sluice.show("workers")
    return next(row.get("stalled_ms") for row in rows if row["worker"] == worker) is not None


def worker(pid, number):
    """The thread of a worker."""
    return threads.named(pid, f"worker-{number}")[0]


def stalls(sluice):
    """How long workers had stood still when that was said, in milliseconds."""
    return [int(ms) for ms in re.findall(r"worker is stalled.*for_ms=(\d+)", sluice.log)]


@pytest.mark.alone
@needs_two_cores
def test_fault_19_a_stopped_worker_is_reported_and_the_other_forwards(pair):
    with pair.sluice(cores=CORES, **TWO) as sluice:
        assert pair.client.reaches("10.0.2.2")
        pid = sluice.processes()["sluice-dataplane"]
        before = sluice.generation
        with threads.stalled(worker(pid, 1)):
            assert sluice.logs("worker is stalled", "worker=1")
            assert min(stalls(sluice)) < 2000, "within a second, on a machine that has time"
            # The other worker answers, and a commit does not wait for ever.
            assert pair.client.reaches("10.0.1.1")
            sluice.run("route", "add", "10.77.0.0/16", "blackhole")
            assert sluice.generation == before + 1
            assert sluice.wait_until(lambda: stalled(sluice, worker=1))
            assert not stalled(sluice, worker=0)
        assert sluice.logs("goes on", "worker=1")
        assert sluice.wait_until(lambda: not stalled(sluice, worker=1))
        assert sluice.wait_until(
            lambda: {w["generation"] for w in sluice.show("workers")} == {before + 1}
        )
        assert sluice.wait_until(lambda: pair.client.reaches("10.0.2.2"))


@pytest.mark.alone
@needs_two_cores
def test_fault_19_a_stopped_worker_does_not_keep_a_port_or_the_end(pair):
    sluice = pair.sluice(cores=CORES, **TWO)
    try:
        sluice.up()
        pid = sluice.processes()["sluice-dataplane"]
        with threads.stalled(worker(pid, 1)):
            assert sluice.logs("worker is stalled", "worker=1")
            mac = pair.router.mac("wan")
            pair.router.run("ip", "link", "del", "wan")
            assert sluice.logs("port is lost", patience=10)
            pair.server.run(
                *("ip", "link", "add", "eth0", "type", "veth"),
                *("peer", "name", "wan", "address", mac, "netns", pair.router.name),
            )
            pair.server.run("ip", "link", "set", "eth0", "up")
            pair.server.address("10.0.2.2/24")
            pair.server.route("default", "10.0.2.1")
            assert pair.client.reaches("10.0.1.1")
        assert sluice.logs("port is back", patience=20), "once the worker has let go of it"
        assert sluice.wait_until(lambda: pair.client.reaches("10.0.2.2"), patience=10)
        with threads.stalled(worker(pid, 0)):
            os.kill(pid, signal.SIGTERM)
            assert sluice.logs("worker 0 does not stop", patience=15)
    finally:
        sluice.discard()


@pytest.mark.alone
def test_fault_18_a_process_that_was_stopped_goes_on_without_a_storm(pair):
    """Stopped as a whole, for longer than a neighbour stays reachable unasked would take."""
    with pair.sluice() as sluice:
        assert pair.client.reaches("10.0.2.2")
        pid = sluice.processes()["sluice-dataplane"]
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(4)
        finally:
            os.kill(pid, signal.SIGCONT)
        with Stream(pair.client, pair.server, "10.0.2.2") as stream:
            assert stream.wait_for(200)
        assert stream.lost == [] and stream.in_order
        assert all(ms < 3000 for ms in stalls(sluice)), "nobody stood still but all together"


@pytest.mark.alone
def test_fault_21_a_panic_leaves_a_report_and_poison_is_named(pair, monkeypatch):
    monkeypatch.setenv("SLUICE_FAULT", f"panic-on-udp-port={POISON}")
    with pair.sluice() as sluice:
        crashes = sluice.directory / "run" / "crash"
        assert pair.client.reaches("10.0.2.2")
        for crash in (1, 2):
            victim = sluice.processes()["sluice-dataplane"]
            with Stream(pair.client, pair.server, "10.0.2.2") as stream:
                datagram(pair.client, "10.0.2.2", POISON)
                assert sluice.wait_until(
                    lambda: sluice.processes().get("sluice-dataplane") not in (None, victim), 10
                )
                assert stream.wait_for(200, patience=15), "traffic flows again"
            assert stream.gap < 2.0 * slowness(), f"R3: {stream.gap} s without traffic"
            assert sluice.wait_until(lambda: len(list(crashes.glob("*.json"))) == crash)
            assert sluice.wait_until(sluice.committed, patience=15)
        assert sluice.logs("last dataplane crashed", f"port {POISON}")
        assert sluice.logs("poison", f"10.0.2.2:{POISON}")
        report = json.loads(sorted(crashes.glob("*.json"))[-1].read_text())
        assert report["thread"] == "worker-0" and report["generation"] == sluice.generation
        assert "fault" in report["place"], "the function that panicked"
        capture = pair.router.run("tcpdump", "-nr", sorted(crashes.glob("*.pcap"))[-1]).stdout
        assert f"10.0.2.2.{POISON}" in capture


def test_log_lines_can_be_json(pair, monkeypatch):
    monkeypatch.setenv("SLUICE_LOG_FORMAT", "json")
    with pair.sluice() as sluice:
        ours = [line for line in sluice.log.splitlines() if "dataplane is up" in line]
        line = json.loads(ours[0])
        assert line["message"] == "dataplane is up" and line["workers"] == 1
        assert line["instructions"] in ("x86-64-v2", "x86-64-v3")
        assert line["timestamp"].endswith("Z") and line["level"] == "INFO"
