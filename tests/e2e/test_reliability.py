"""The figures that Sluice holds itself to, each by its number; `tests/README.md` has the table.

What takes hours is bounded here and asked for in full by `make soak`.
"""

import os
import signal
import time

import pytest

from lab import Alternating, Halves, Stream, pair_configuration
from lab.load import slowness
from lab.sluice import binaries

# How long a figure is held, in seconds, and how often the policy changes.
HOLD = float(os.environ.get("SLUICE_HOLD", 5))
ALTERNATIONS = int(os.environ.get("SLUICE_ALTERNATIONS", 1000))
RATE = int(os.environ.get("SLUICE_RATE", 2000))
SOAK = float(os.environ.get("SLUICE_SOAK", 5))


@pytest.mark.alone
def test_r01_control_killed_loses_nothing(alternating):
    """R1: without a control process it forwards on; the next one finds everything as it was."""
    halves = alternating.halves
    before = halves.generation()
    with alternating.load(RATE) as load:
        halves.kill("sluice-control")
        time.sleep(HOLD)
        assert load.wait_for(10), "it does not forward without a control process"
        halves.start("sluice-control")
        assert halves.wait_until_committed() == before
        assert load.wait_for(RATE // 4)
    alternating.assert_whole(load)
    assert load.came["thin"] == []


@pytest.mark.alone
@pytest.mark.timeout(max(90, ALTERNATIONS))
def test_r02_alternating_policies_under_load(alternating):
    """R2: each packet is handled by A or by B, and none is lost."""
    halves = alternating.halves
    files = [alternating.configuration(which) for which in "BA"]
    first = halves.generation()
    with halves.control() as control, alternating.load(RATE) as load:
        for turn in range(ALTERNATIONS):
            applied = control.apply(files[turn % 2])
            assert applied["generation"] == first + turn + 1
    alternating.assert_whole(load)
    assert load.came["wan"] and load.came["thin"]
    counted = {row["name"]: row["packets"] for row in halves.ask("/v1/rules")}
    live = "A" if ALTERNATIONS % 2 == 0 else "B"
    assert counted[f"whole-{live}"] <= len(load.came["wan" if live == "A" else "thin"])


@pytest.mark.alone
def test_r03_dataplane_restart(pair):
    """R3: a dataplane that was killed is back with its policy, and traffic in under a second."""
    with pair.sluice("routes: [{ to: 192.0.2.0/24, blackhole: true }]\n") as sluice:
        assert pair.client.reaches("10.0.2.2")
        sluice.run("route", "add", "198.51.100.0/24", "blackhole")
        before, victim = sluice.generation, sluice.processes()["sluice-dataplane"]
        with Stream(pair.client, pair.server, "10.0.2.2", rate=1000) as stream:
            os.kill(victim, signal.SIGKILL)
            assert sluice.wait_until(
                lambda: sluice.processes().get("sluice-dataplane") not in (None, victim)
            )
            assert stream.wait_for(200, patience=10), "no traffic after the restart"
        print(f"silent for {stream.gap * 1000:.0f} ms")
        assert stream.gap < 1.0 * slowness(), f"{stream.gap} s without traffic"
        assert sluice.wait_until(sluice.committed)
        assert sluice.generation == before
        prefixes = {route["prefix"] for route in sluice.show("routes")}
        assert {"192.0.2.0/24", "198.51.100.0/24"} <= prefixes, "file and live change are back"


@pytest.mark.alone
def test_r10_ten_thousand_routes_and_rules(lab):
    """R10: from nothing to forwarding in two seconds, with 10,000 routes and 10,000 rules."""
    alternating = Alternating(lab, routes=10_000)
    text = alternating.configuration("A")
    rules = "".join(
        f"      - {{ protocol: udp, destination-port: {20000 + number}, action: drop }}\n"
        for number in range(10_000)
    )
    text = text.replace("    rules:\n", "    rules:\n" + rules)
    halves = alternating.halves
    halves.file.write_text(text)
    began = time.monotonic()
    with halves:
        took = time.monotonic() - began
        with alternating.load(100) as load:
            assert load.wait_for(10)
        with halves.control() as control:
            assert alternating.live(control) == "A"
    print(f"{took:.2f} s from nothing to forwarding")
    assert load.lost == []
    assert took < 2.0 * slowness(), f"{took} s"


@pytest.fixture
def debug_dataplane(tmp_path, monkeypatch):
    """The programs under test, the dataplane with debug assertions."""
    debug = binaries().parent / "debug" / "sluice-dataplane"
    assert debug.exists(), f"{debug} is not built (run: make debug)"
    for program in ("sluice", "sluice-control"):
        (tmp_path / program).symlink_to(binaries() / program)
    (tmp_path / "sluice-dataplane").symlink_to(debug)
    monkeypatch.setenv("SLUICE_BIN", str(tmp_path))


EVERYTHING = """
filters:
  ingress: { rules: [{ name: seen, protocol: udp, action: count, log: true }] }
  forward:
    stateful: true
    default: drop
    rules: [{ in: lan, action: accept }, { protocol: icmp, action: accept }]
policy-routes: [{ name: steered, protocol: udp, destination-port: 5001-5009, via: 10.0.2.2 }]
"""


def test_r07_workers_allocate_nothing(pair, debug_dataplane):
    """R7: a build that ends a worker that allocates on a packet's way lives through all of this."""
    text = pair_configuration(EVERYTHING)
    with Halves(pair.router, text) as halves:
        first = halves.pid("sluice-dataplane")
        for address in ("10.0.2.2", "fd00:2::2", "10.0.1.1", "fd00:1::1"):
            assert pair.client.reaches(address)
        pair.client.ping("10.0.2.2", "-s", "4000", count=3)
        pair.client.ping("10.0.2.2", "-t", "1", count=3)
        pair.client.ping("10.0.2.77", count=1)
        with Stream(pair.client, pair.server, "10.0.2.2", port=5001, rate=500) as stream:
            assert stream.wait_for(200)
            with halves.control() as control:
                control.apply(text + "routes: [{ to: 192.0.2.0/24, blackhole: true }]\n")
            assert halves.ask("/v1/flows")
            assert stream.wait_for(200)
        assert halves.running("sluice-dataplane") and halves.pid("sluice-dataplane") == first
        assert halves.stop("sluice-dataplane") == 0, halves.log


def test_r07_a_worker_that_allocates_ends_a_debug_build(pair, debug_dataplane):
    """R7: and it does end it."""
    fault = ("--fault", "allocate-on-udp-port=6666")
    with Halves(pair.router, pair_configuration(), dataplane_options=fault) as halves:
        with Stream(pair.client, pair.server, "10.0.2.2", port=6665) as stream:
            assert stream.wait_for(20)
        assert halves.running("sluice-dataplane")
        with Stream(pair.client, pair.server, "10.0.2.2", port=6666):
            deadline = time.monotonic() + 10
            while halves.running("sluice-dataplane") and time.monotonic() < deadline:
                time.sleep(0.05)
        assert halves.stop("sluice-dataplane") == -signal.SIGABRT, halves.log


def only_grow(stats):
    """Of an answer about counters, those that are no gauges, by where they stand."""
    named = ("rx", "tx", "dropped", "consumed", "generated", "rx_packets", "tx_packets", "rx_bytes")
    rows = {"total": stats["total"], **{row["port"]: row for row in stats["ports"]}}
    return {(of, name): row[name] for of, row in rows.items() for name in named if name in row}


@pytest.mark.alone
@pytest.mark.timeout(max(90, 2 * SOAK))
def test_r06_soak(alternating):
    """R6: for as long as it is asked, nothing is lost, memory stays and no counter goes back."""
    halves = alternating.halves
    with alternating.load(RATE) as load:
        assert load.wait_for(RATE)
        memory = halves.resident("sluice-dataplane")
        counted, end = only_grow(halves.ask("/v1/stats")), time.monotonic() + SOAK
        first = counted
        while time.monotonic() < end:
            assert load.wait_for(RATE // 4)
            now = only_grow(halves.ask("/v1/stats"))
            assert [place for place in now if now[place] < counted[place]] == []
            counted = now
        grown = halves.resident("sluice-dataplane") - memory
    alternating.assert_whole(load)
    assert counted["total", "tx"] > first["total", "tx"]
    assert grown < memory // 100 + 256, f"{grown} kB more than {memory} kB"


def test_r12_every_packet_is_accounted_for(stations):
    """R12: at every quiet moment the books balance, to the packet."""
    from scapy.layers.inet import ICMP, IP, UDP
    from scapy.packet import Raw

    odd = [
        IP(src="10.0.1.2", dst="10.0.2.2") / UDP(dport=9),
        IP(src="10.0.1.2", dst="10.0.1.1") / ICMP(),
        IP(src="10.0.1.2", dst="203.0.113.1") / UDP(dport=9),
        IP(src="10.0.1.2", dst="10.0.2.2", ttl=1) / UDP(dport=9),
        IP(src="10.0.1.2", dst="10.0.2.77") / UDP(dport=9),
        IP(src="10.0.1.2", dst="10.0.3.2") / UDP(dport=9) / Raw(bytes(1400)),
        IP(src="10.0.1.2", dst="10.0.2.2", len=10) / UDP(dport=9),
    ]
    for _ in range(20):
        stations.lan.say(*odd * 5)
        stations.sluice.accounts_balance(patience=8)
    total = stations.sluice.show("stats")["total"]
    assert total["rx"] >= 20 * 5 * len(odd) and total["dropped"] > 0 and total["tx"] > 0


def test_r11_a_bad_file_is_refused_and_changes_nothing(lab):
    """R11: not a byte of a bad file takes effect; the error names file, line and key."""
    router = lab.namespace()
    for port in ("lan", "wan"):
        lab.wire(router, port)
    text = pair_configuration("filters: { forward: { rules: [{ name: r, action: drop }] } }\n")
    spoilt = {
        text.replace("action: drop", "action: explode"): ("action", "explode"),
        text.replace("name: r", "nme: r"): ("nme",),
        text.replace("10.0.2.1/24", "10.0.2.300/24"): ("addresses", "10.0.2.300"),
        text.replace("iface=wan", "iface=lan"): ("lan",),
        text + "routes: [{ to: 10.9.0.1/16, blackhole: true }]\n": ("10.9.0.0/16",),
        text + "routes: [{ to: 10.9.0.0/16, via: 203.0.113.1 }]\n": ("203.0.113.1",),
        text + "ports: {}\n": ("ports",),
        text + "surprise: 1\n": ("surprise",),
    }
    with Halves(router, text) as halves, halves.control() as control:
        before, state = halves.generation(), control.get("/v1/config")
        for wrong, named in spoilt.items():
            with pytest.raises(Exception) as refused:
                control.apply(wrong, "?file=wrong.yaml")
            assert refused.value.status == 400, refused.value
            said = str(refused.value)
            assert "wrong.yaml:" in said, said
            assert any(f"wrong.yaml:{line}:" in said for line in range(1, 40)), said
            for word in named:
                assert word in said, said
        assert halves.generation() == before and control.get("/v1/config") == state
