"""Hooks that misbehave, and hooks that come and go under load. The names begin with the points of
the checklist in docs/hooks.md."""

import os
import re
import socket

import pytest

from lab import Stream, datagram

POISON = 6666
TURNS = int(os.environ.get("SLUICE_HOOK_TURNS", 150))
RATE = int(os.environ.get("SLUICE_RATE", 2000))

BAD = "hooks: {{ bad: {{ program: {}, event: forwarding, protocols: [inet] }} }}\n"
STALLS = BAD.format("fault-stall").replace("[inet]", "[inet], settings: { ms: 8000 }")


def dropped(sluice, reason):
    """Packets dropped for a reason."""
    return sluice.drops().get(reason, 0)


def listens(host):
    """A socket for what passes after all."""
    with host.entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("10.0.2.2", POISON))
    receiver.settimeout(5)
    return receiver


def test_a_hook_that_panics_is_caught_and_taken_out(pair, monkeypatch):
    monkeypatch.setenv("SLUICE_FAULT", "programs")
    with pair.sluice(BAD.format("fault-panic")) as sluice, listens(pair.server) as receiver:
        victim = sluice.processes()["sluice-dataplane"]
        assert pair.client.reaches("10.0.2.2")
        with Stream(pair.client, pair.server, "10.0.2.2") as stream:
            for panics in (1, 2, 3):
                datagram(pair.client, "10.0.2.2", POISON)
                assert sluice.wait_until(lambda: dropped(sluice, "hook-panic") >= panics)
            assert sluice.logs("hook is taken out", "bad", "panicked 3 times")
            assert stream.wait_for(200)
            datagram(pair.client, "10.0.2.2", POISON, b"it has gone")
            assert receiver.recv(64) == b"it has gone"
        assert stream.in_order
        assert len(stream.lost) == dropped(sluice, "hook-panic") - 3, "only whole bursts were lost"
        assert sluice.processes()["sluice-dataplane"] == victim
        # It can be loaded anew, and is then watched anew.
        usual = sluice.file.read_text()
        sluice.apply(usual.replace(BAD.format("fault-panic"), ""))
        sluice.apply(usual)
        before = dropped(sluice, "hook-panic")
        datagram(pair.client, "10.0.2.2", POISON)
        assert sluice.wait_until(lambda: dropped(sluice, "hook-panic") > before)


def test_a_hook_that_does_not_return_is_named_and_nothing_is_freed(pair, monkeypatch):
    monkeypatch.setenv("SLUICE_FAULT", "programs")
    with pair.sluice(STALLS) as sluice:
        assert pair.client.reaches("10.0.2.2")
        datagram(pair.client, "10.0.2.2", POISON)
        assert sluice.logs("worker is stalled", "hook=\"bad\"")
        usual = sluice.file.read_text()
        before = sluice.generation
        sluice.apply(usual.replace(STALLS, ""))
        assert sluice.generation == before + 1
        assert sluice.logs("out of the order", "bad", "worker 0")
        # It returns at last, gives its object back, and all is as it was.
        assert sluice.logs("worker goes on", patience=20)
        assert sluice.wait_until(lambda: pair.client.reaches("10.0.2.2"))
        sluice.apply(usual)
        assert pair.client.reaches("10.0.2.2")


def test_a_module_registers_its_hook_in_every_instance(pair, monkeypatch):
    """The article's way: it waits for INET, then for PHYSICAL_IN, and drops every hundredth."""
    monkeypatch.setenv("SLUICE_MODULES", "tour")
    with pair.sluice() as sluice:
        assert pair.client.reaches("fd00:2::2")
        told = pair.client.run("ping", "-f", "-c", "500", "-W", "1", "10.0.2.2", check=False)
        lost = 500 - int(re.search(r"(\d+) received", told.stdout)[1])
        hooked = dropped(sluice, "hook")
        assert lost == hooked, "an echo or its answer"
        # What is lost on the way there has no answer: about every hundredth of both.
        assert 9 <= hooked <= 10
        assert sluice.logs("hook", "tour", "PHYSICAL_IN", "10.0.2.2"), "logged by the agent"


def greetings(host):
    """Echo requests that a host's kernel has taken in."""
    rows = host.run("cat", "/proc/net/snmp").stdout.splitlines()
    names, values = (row.split() for row in rows if row.startswith("Icmp:"))
    return int(values[names.index("InEchos")])


def test_g2_g3_a_module_injects_from_the_agent(pair, monkeypatch):
    """Its listener hears that a link comes up, and what it injects is routed, resolved and sent."""
    monkeypatch.setenv("SLUICE_MODULES", "greet")
    hosts = (pair.client, pair.server)
    before = [greetings(host) for host in hosts]
    with pair.sluice() as sluice:
        assert sluice.wait_until(
            lambda: all(greetings(host) > was for host, was in zip(hosts, before)), 20
        ), "each host is greeted"
        was = greetings(pair.server)
        pair.server.run("ip", "link", "set", "eth0", "down")
        assert sluice.wait_until(lambda: not sluice.port("wan")["link"], 20)
        pair.server.run("ip", "link", "set", "eth0", "up")
        assert sluice.wait_until(lambda: greetings(pair.server) > was, 20), "and again"
        assert sluice.wait_until(lambda: pair.server.reaches("10.0.2.1"), 20)


@pytest.mark.timeout(max(90, TURNS))
def test_e16_k9_hooks_come_and_go_under_load(alternating):
    """Two hooks in turn, one before and one behind the filters: nothing is lost or overtaken."""
    halves = alternating.halves
    usual = alternating.configuration("A")
    hooks = (
        "hooks: { one: { program: pass-burst, event: physical-in, order: first } }\n",
        "hooks:\n"
        "  one: { program: pass-packet, event: physical-in, order: { after: ingress-filter } }\n"
        "  two: { program: dscp-mark, event: forwarding, order: last }\n",
        "",
    )
    with halves.control() as control, alternating.load(RATE) as load:
        for turn in range(TURNS):
            control.apply(usual + hooks[turn % len(hooks)])
        control.apply(usual)
    alternating.assert_whole(load)
    assert not [row for row in halves.ask("/v1/drops") if row["reason"].startswith("hook")]


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("{ program: nothing, event: forwarding }", ("no program is named `nothing`", "hundredth")),
        ("{ program: hundredth, event: forwarding, settings: { every: 0 } }", ("every", "`0`")),
        ("{ program: hundredth, event: forwarding, settings: { some: 1 } }", ("`some`", "`every`")),
        ("{ program: hundredth, event: observing }", ("OBSERVING", "PHYSICAL_IN")),
    ],
)
def test_a_hook_that_cannot_be_leaves_the_others_running(pair, hook, words):
    with pair.sluice("hooks: { good: { program: pass-packet, event: forwarding } }\n") as sluice:
        before = sluice.generation
        with Stream(pair.client, pair.server, "10.0.2.2") as stream:
            refused = sluice.apply(
                sluice.file.read_text().replace("hooks: {", f"hooks: {{ bad: {hook},"), check=False
            )
            assert refused.returncode != 0
            for word in (*words, "bad", "sluice.yaml:"):
                assert word in refused.stderr, refused.stderr
        assert stream.lost == []
        assert sluice.generation == before
