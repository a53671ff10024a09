"""Flows: shown, filtered, ended and held against a candidate, while packets go on. The table has room
for 1,024 connections throughout."""

import socket

import pytest

from lab import Stream

SMALL = "{ flows: 1024 }"
STATEFUL = """
filters:
  forward:
    stateful: true
    default: drop
    rules:
      - { name: out, in: lan, action: accept }
"""
CLOSED = STATEFUL.replace("rules:", "rules:\n      - { name: no-udp, protocol: udp, action: drop }")


@pytest.fixture
def sluice(pair):
    with pair.sluice(STATEFUL, limits=SMALL) as running:
        yield running


class Download:
    """A TCP connection over which the server sends what it is told to."""

    def __init__(self, client, server, port=8000):
        with server.entered(), socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("10.0.2.2", port))
            listener.listen()
            with client.entered():
                self.near = socket.create_connection(("10.0.2.2", port), timeout=5)
            self.far, _ = listener.accept()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.near.close()
        self.far.close()

    def arrives(self, octets, patience=5.0):
        """Sends so many octets; whether they all arrive in time."""
        self.near.settimeout(patience)
        self.far.sendall(bytes(octets))
        received = 0
        try:
            while received < octets:
                piece = self.near.recv(65536)
                if not piece:
                    return False
                received += len(piece)
        except TimeoutError:
            return False
        return True


def flows(sluice, *options):
    return sluice.show("flows", *options)["flows"]


def test_flows_are_shown_as_they_are(pair, sluice):
    assert pair.client.ping("10.0.2.2", count=2).received == 2
    with Download(pair.client, pair.server) as download, Stream(
        pair.client, pair.server, "fd00:2::2", port=5353, rate=200
    ) as stream:
        assert download.arrives(100_000) and stream.wait_for(20)

        (tcp,) = flows(sluice, "--proto", "tcp", "--port", 8000)
        assert (tcp["source"], tcp["destination"]) == ("10.0.1.2", "10.0.2.2")
        assert (tcp["destination_port"], tcp["state"]) == (8000, "established")
        assert tcp["reply"]["bytes"] > 100_000 > tcp["original"]["bytes"] > 0
        assert 7_000_000 < tcp["expires_ms"] + tcp["idle_ms"] <= 7_445_000
        assert tcp["idle_ms"] <= tcp["age_ms"] and tcp["worker"] == 0
        way = tcp["reply"]["way"]
        assert (way["ingress"], way["egress"], way["next_hop"]) == ("wan", "lan", None)

        (udp,) = flows(sluice, "--src", "fd00:1::/64", "--dst", "fd00:2::2")
        assert (udp["protocol"], udp["state"]) == (17, "unanswered")
        assert udp["original"]["way"]["rules"][-1] == "out" and udp["reply"]["packets"] == 0
        (echo,) = flows(sluice, "--proto", "icmp", "--state", "answered")
        assert (echo["icmp_type"], echo["original"]["packets"]) == (8, 2)
        assert flows(sluice, "--src", "10.0.2.0/24") == flows(sluice, "--port", 9) == []

        busiest = flows(sluice, "--sort", "rate", "--limit", 1)
        assert busiest[0]["destination_port"] == 5353
        assert busiest[0]["rate"]["packets_per_second"] > 0
        text = sluice.run("show", "flows", "--sort", "bytes", "--limit", 1).stdout
        assert "10.0.2.2:8000" in text and "established" in text and "of 3 flows" in text

        table = sluice.show("stats")["workers"][0]["flows"]
        assert (table["capacity"], table["in_use"], table["full"]) == (1024, 3, 0)
    wrong = sluice.run("show", "flows", "--instance", "blue", check=False)
    assert wrong.returncode == 1 and "there is no instance `blue`" in wrong.stderr


def test_a_flow_that_is_killed_is_over(pair, sluice):
    with Download(pair.client, pair.server) as download, Download(
        pair.client, pair.server, port=8001
    ) as other:
        assert download.arrives(10_000) and other.arrives(10_000)
        refused = sluice.run("flow", "kill", check=False)
        assert refused.returncode == 2 and "--all" in refused.stderr
        killed = sluice.run("flow", "kill", "--proto", "tcp", "--port", 8000).stdout
        assert killed == "1 flow ended\n"
        # Its packets are of no connection now, and begin none.
        assert not download.arrives(10_000, patience=1.0)
        assert flows(sluice, "--port", 8000) == []
        assert sluice.drops()["invalid-state"] > 0
        assert other.arrives(10_000)
        assert sluice.json("flow", "kill", "--all")["killed"] == 1
        assert sluice.show("stats")["workers"][0]["flows"]["killed"] == 2


def test_a_listing_is_whole_at_any_number_of_flows(pair, sluice):
    wanted = set(range(10_000, 10_600))
    udp = ("--proto", "udp", "--limit", 2000)
    assert pair.client.reaches("10.0.2.2")
    with pair.client.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

        def all_there():
            there = {flow["destination_port"] for flow in flows(sluice, *udp)}
            for port in wanted - there:
                sender.sendto(b"x", ("10.0.2.2", port))
            return there == wanted

        assert sluice.wait_until(all_there, patience=20)
    shown = sluice.show("flows", *udp)
    assert shown["complete"] and len(shown["flows"]) == shown["matching"] == 600
    assert "50 of 600 flows" in sluice.run("show", "flows", "--proto", "udp").stdout
    assert sluice.json("flow", "kill", "--proto", "udp")["killed"] > 0
    assert sluice.show("flows", "--proto", "udp")["matching"] == 0


def test_live_flows_are_held_against_a_candidate(pair, sluice, tmp_path):
    with Download(pair.client, pair.server) as download, Stream(
        pair.client, pair.server, "10.0.2.2", rate=200
    ) as stream:
        assert download.arrives(10_000) and stream.wait_for(5)
        candidate = tmp_path / "new.yaml"
        candidate.write_text(sluice.file.read_text().replace(STATEFUL, CLOSED))
        said = sluice.run("diff", candidate, "--flows").stdout
        assert "would fare otherwise" in said and "udp 10.0.1.2:" in said
        changes = sluice.json("diff", candidate, "--flows")
        moved = [(c["flow"]["protocol"], c["after"]["rule"]) for c in changes["changes"]]
        assert moved == [(17, "no-udp")] and changes["complete"]
        assert sluice.run("diff", sluice.file, "--flows").stdout.splitlines()[-1].endswith(
            "; directions that would fare otherwise: 0"
        )
        # What is of a connection is explained as such.
        (tcp,) = flows(sluice, "--proto", "tcp")
        packet = {"in_": "wan", "src": "10.0.2.2", "dst": "10.0.1.2", "sport": 8000,
                  "dport": tcp["source_port"], "tcp_flags": "ack"}
        known = sluice.explain(**packet)
        assert (known["verdict"], known["flow_state"]) == ("accept", "there")
        assert known["flow"]["source_port"] == tcp["source_port"]
        unknown = sluice.explain(**{**packet, "sport": 8080})
        assert (unknown["verdict"], unknown["flow_state"]) == ("drop", "not-there")
