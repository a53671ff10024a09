"""Questions about policy: where a packet is routed, from which address, and what a change moves."""

import json

import pytest

RULES = """
filters:
  forward:
    rules:
      - { name: no-smtp, protocol: tcp, destination-port: 25, action: drop }
routes:
  - { to: 192.0.2.0/24, via: 10.0.2.2 }
  - { to: 198.51.100.0/24, blackhole: true }
"""
TESTS = """
tests:
  - { name: web, from: 10.0.1.2, to: 192.0.2.80, port: 80, expect: accept, via: wan,
      next-hop: 10.0.2.2, route: 192.0.2.0/24, owner: static }
  - { name: mail, from: 10.0.1.2, to: 192.0.2.25, port: 25, expect: drop, rule: no-smtp }
  - { name: own mail, to: 192.0.2.25, port: 25, expect: accept, via: wan, source: 10.0.2.1 }
  - { name: nowhere, from: 10.0.1.2, to: 198.51.100.1, expect: drop, reason: blackhole }
"""


@pytest.fixture
def appliance(pair):
    with pair.sluice(RULES) as pair.running:
        yield pair


def test_a_route_is_told_as_packets_take_it(appliance):
    sluice = appliance.running
    appliance.client.reaches("10.0.2.2")
    flow = ("--in", "lan", "--src", "10.0.1.2", "--dst", "192.0.2.25", "--dport", 25)
    answer = json.loads(sluice.run("--json", "route", "query", *flow).stdout)
    assert (answer["verdict"], answer["egress"], answer["next_hop"]) == ("accept", "wan", "10.0.2.2")
    assert (answer["route"]["prefix"], answer["route"]["owner"]) == ("192.0.2.0/24", "static")
    assert (answer["mtu"], answer["path_mtu"], answer["source"]) == (1500, 1500, "10.0.1.2")
    assert answer["next_hop_state"]["mac"] == appliance.server.mac("eth0")
    assert answer["generation"] == sluice.generation
    text = sluice.run("route", "query", *flow).stdout
    assert "leaves by:   wan" in text and "192.0.2.0/24 (static" in text

    # The router's own packet bears the address of the interface that it leaves by, on the wire.
    assert sluice.run("source", "--dst", "192.0.2.25", "--dport", 25).stdout == "10.0.2.1\n"
    assert sluice.run("source", "--dst", "10.0.1.2").stdout == "10.0.1.1\n"
    nowhere = sluice.run("source", "--dst", "198.51.100.1", check=False)
    assert nowhere.returncode == 3 and "blackhole" in nowhere.stderr

    # A live route moves the answer with the packets; the earlier commit keeps its own.
    before = sluice.generation
    sluice.run("route", "add", "192.0.2.25/32", "via", "10.0.1.2")
    assert sluice.run("source", "--dst", "192.0.2.25").stdout == "10.0.1.1\n"
    then = json.loads(sluice.run("--json", "route", "query", *flow, "--at", before).stdout)
    assert (then["egress"], then["generation"]) == ("wan", before)


def test_assertions_are_kept_beside_the_configuration(appliance, tmp_path):
    sluice = appliance.running
    file = tmp_path / "tests.yaml"
    file.write_text(TESTS)
    for where in ((), ("--config", sluice.file)):
        assert "4 tests, 0 failed" in sluice.run("test", file, *where).stdout

    sluice.run("route", "add", "192.0.2.80/32", "reject")
    failed = sluice.run("test", file, check=False)
    assert failed.returncode == 1 and "1 of 4 tests failed" in failed.stderr
    line = TESTS.splitlines().index(next(x for x in TESTS.splitlines() if "web" in x)) + 1
    assert f"FAILED  web  ({file}:{line})" in failed.stdout
    assert "expect: accept was expected, it is reject" in failed.stdout
    outcomes = json.loads(sluice.run("--json", "test", file, check=False).stdout)
    assert [outcome["ok"] for outcome in outcomes] == [False, True, True, True]
    # The file does not have the live route.
    assert sluice.run("test", file, "--config", sluice.file).returncode == 0

    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(TESTS + "  - { from: 10.0.1.2, expect: perhaps }\n")
    refused = sluice.run("test", wrong, check=False)
    assert refused.returncode == 1
    assert "perhaps" in refused.stderr and "tests[4].to: is missing" in refused.stderr


def test_a_change_says_beforehand_which_flows_it_moves(appliance, tmp_path):
    sluice = appliance.running
    flows = tmp_path / "flows.yaml"
    flows.write_text(TESTS + "flows:\n  - { name: ping, from: 10.0.1.2, to: 10.0.2.2, proto: icmp }\n")
    candidate = tmp_path / "new.yaml"
    text = sluice.file.read_text().replace("192.0.2.0/24, via: 10.0.2.2", "192.0.2.0/24, reject: true")
    candidate.write_text(text)

    said = sluice.run("diff", candidate, "--flows", flows).stdout
    assert "web: out by wan to 10.0.2.2 -> rejected, reject-route" in said
    assert "mail: dropped, forward-filter by rule no-smtp -> rejected, reject-route" in said
    assert "4 flows, 2 would fare otherwise" in said
    before = sluice.generation
    sluice.apply(text)
    moved = json.loads(sluice.run("--json", "diff", before, "--flows", flows).stdout)
    assert [change["after"]["verdict"] for change in moved] == ["reject", "reject"]
    assert sluice.run("diff", before, before, "--flows", flows).stdout.startswith("4 flows, 0 would")
