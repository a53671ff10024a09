"""Hooks by command and by file: loaded under traffic, in the order that is shown, and unloaded."""

import os
import signal

import pytest

from lab import Stream, through_hook

FILE = """
hooks:
  kept: { program: pass-burst, event: physical-in, order: { before: ingress-filter } }
"""


@pytest.fixture
def appliance(pair):
    with pair.sluice(FILE) as pair.running:
        yield pair


def order(sluice, event="physical-in", protocol="inet"):
    """What packets meet at an event of the default instance."""
    shown = sluice.show("hooks", "--instance", "default", "--event", event)
    for one in shown["orders"]:
        if protocol in one["protocols"]:
            return [place["name"] for place in one["places"]]
    return []


def hook(shown, name):
    return next(row for row in shown["hooks"] if row["name"] == name)


def test_of_ten_thousand_packets_every_hundredth_is_lost(pair):
    """5,000 pings are 10,000 packets through the hook, and exactly 100 of them are lost."""
    with pair.sluice() as sluice:
        assert pair.client.reaches("10.0.2.2")
        sluice.run("hook", "load", "hundredth", "--event", "physical-in", "--protocol", "inet")
        seen, answers = through_hook(sluice, pair.client, "10.0.2.2", 5000, "hundredth")
        assert (seen["packets"], seen["dropped"], answers) == (10_000, 100, 4_900)
        assert sluice.logs("hook", "hundredth", "PHYSICAL_IN"), "logged off the packet's path"


def test_hooks_are_loaded_and_unloaded_under_traffic(appliance):
    sluice = appliance.running
    assert order(sluice) == ["flow", "kept", "ingress-filter"]
    with Stream(appliance.client, appliance.server, "10.0.2.2") as stream:
        load = ("hook", "load", "--event", "physical-in")
        sluice.run(*load, "pass-packet")
        sluice.run(*load, "top", "--program", "pass-burst", "--first")
        sluice.run(*load, "near", "--program", "pass-packet", "--after", "kept")
        assert stream.wait_for(100)
        assert order(sluice) == ["top", "flow", "kept", "near", "ingress-filter", "pass-packet"]
        assert order(sluice, protocol="arp") == []
        assert hook(sluice.show("hooks"), "near")["packets"] >= 100
        sluice.run("hook", "unload", "kept", check=False)
        sluice.run("hook", "unload", "pass-packet")
        assert order(sluice) == ["top", "flow", "kept", "near", "ingress-filter"]
        assert stream.wait_for(100)
    assert stream.lost == []
    assert stream.in_order
    table = sluice.run("show", "hooks", "--event", "physical-in").stdout.splitlines()
    assert table[0] == "instance default, PHYSICAL_IN, inet, inet6"
    assert [line.split()[:2] for line in table[2:7]] == [
        ["1", "top"],
        ["2", "flow"],
        ["3", "kept"],
        ["4", "near"],
        ["5", "ingress-filter"],
    ]
    assert "near" in sluice.run("show", "pipeline").stdout
    assert "hook near loaded" in sluice.run("commits").stdout


def test_hooks_survive_the_death_of_either_process(appliance):
    sluice = appliance.running
    sluice.run("hook", "load", "late", "--program", "pass-packet", "--event", "physical-in")
    expected = ["flow", "kept", "ingress-filter", "late"]
    for program in ("sluice-control", "sluice-dataplane"):
        os.kill(sluice.processes()[program], signal.SIGKILL)
        assert sluice.wait_until(lambda: appliance.client.reaches("10.0.2.2"), 20)
        assert sluice.wait_until(sluice.committed, 20)
        assert order(sluice) == expected, f"after the death of {program}"
    before = hook(sluice.show("hooks"), "late")["packets"]
    assert appliance.client.reaches("10.0.2.2")
    assert hook(sluice.show("hooks"), "late")["packets"] > before


REFUSED = [
    ("load nothing --event physical-in", 3, "no program is named `nothing`"),
    ("load hundredth --event physical-in --set every=0", 3, "`0`"),
    ("load kept --program hundredth --event physical-in", 3, "loaded already"),
    ("load mtu --program hundredth --event physical-in", 1, "is a stage"),
    ("load a --program pass-burst --event physical-in --before a", 1, "against itself"),
    ("load a --program pass-burst --event forwarding --protocol arp", 1, "no event FORWARDING"),
    ("load a --program pass-burst --event physical-in --instance red", 1, "`red`"),
    ("unload kept", 3, "of the configuration file"),
    ("unload nothing", 3, "there are: kept"),
]


def test_a_refused_change_leaves_the_running_hooks_alone(appliance):
    sluice = appliance.running
    before, generation = order(sluice), sluice.generation
    with Stream(appliance.client, appliance.server, "10.0.2.2") as stream:
        for command, code, told in REFUSED:
            refused = sluice.run("hook", *command.split(), check=False)
            assert (refused.returncode, told in refused.stderr) == (code, True), refused.stderr
            assert (order(sluice), sluice.generation) == (before, generation)
    assert stream.lost == []


def test_hints_that_go_round_are_refused(appliance):
    sluice = appliance.running
    load = ("hook", "load", "--program", "pass-burst", "--event", "forwarding")
    sluice.run(*load, "a", "--after", "b")
    refused = sluice.run(*load, "b", "--after", "a", check=False)
    assert refused.returncode == 1
    assert "the hints of `a`, `b` contradict each other" in refused.stderr
    assert "b" not in order(sluice, "forwarding")


def test_a_rollback_brings_hooks_back(appliance):
    sluice = appliance.running
    sluice.run("hook", "load", "one", "--program", "pass-packet", "--event", "physical-in")
    sluice.run("hook", "load", "two", "--program", "pass-packet", "--event", "physical-in")
    both = sluice.generation
    expected = ["flow", "kept", "ingress-filter", "one", "two"]
    assert order(sluice) == expected
    sluice.run("hook", "unload", "one")
    sluice.apply(sluice.file.read_text().replace(FILE, ""))
    assert order(sluice) == ["flow", "ingress-filter", "two"]
    sluice.run("rollback", str(both))
    assert order(sluice) == expected
    with Stream(appliance.client, appliance.server, "10.0.2.2") as stream:
        assert stream.wait_for(100)
    assert stream.lost == []
    assert hook(sluice.show("hooks"), "one")["packets"] >= 100
