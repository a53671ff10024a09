"""Changes that say what they expect: two writers at once, many operations, whole tables."""

import json
import os
import signal
import tempfile
import threading

import pytest

from lab import Control, Stream
from lab.control import Refused

RACES = int(os.environ.get("SLUICE_RACES", 5_000))
TRANSACTION = "/v1/transaction"
SHARED, CONTESTED = "192.0.2.0/24", "198.51.100.0/24"


@pytest.fixture
def sluice(pair):
    """Behind the server is 10.9.0.1."""
    pair.server.address("10.9.0.1/32", interface="lo")
    with pair.sluice() as running:
        yield running


@pytest.fixture
def in_memory(pair, monkeypatch):
    """One whose commits are written to memory: what is raced is no disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as state:
        monkeypatch.setenv("SLUICE_STATE", state)
        with pair.sluice() as running:
            yield running


class Racer(threading.Thread):
    """Counts up a route that two share, and sets and deletes one of its own beside another's.

    The route that is shared is changed only if it is as it was seen last; a refusal says how it is
    now. The route of one's own is nobody else's to change: what is expected of it always holds.
    """

    def __init__(self, sluice, owner, rounds):
        super().__init__(name=owner)
        self.sluice, self.owner, self.rounds = sluice, owner, rounds
        self.conflicts, self.mine, self.failure = 0, None, None

    def run(self):
        try:
            with Control(self.sluice.directory / "run").closing() as control:
                # Nobody knows anything yet: the first refusal tells.
                count, seen = 0, 0
                for done in range(self.rounds):
                    count, seen = self.round(control, done, count, seen)
        except BaseException as failure:  # told by the test
            self.failure = failure

    def round(self, control, done, count, seen):
        mine = {"to": CONTESTED, "owner": self.owner}
        if self.mine is None:
            own = {"set": {**mine, "blackhole": True, "tag": done, "expect": {"absent": True}}}
        else:
            own = {"delete": {**mine, "expect": {"generation": self.mine}}}
        while True:
            shared = {"to": SHARED, "owner": "both", "blackhole": True, "tag": count + 1}
            operations = [{"set": {**shared, "expect": {"generation": seen}}}, own]
            try:
                made = control.post(TRANSACTION, {"operations": operations})["generation"]
            except Refused as refused:
                assert refused.status == 409, refused
                (conflict,) = json.loads(refused.answer)["conflicts"]
                assert conflict["at"] == "operations[0]", "nobody touches a route of mine"
                (present,) = conflict["present"]
                assert present["generation"] > seen, "refused, and yet it is as it was seen"
                count, seen = present["tag"], present["generation"]
                self.conflicts += 1
            else:
                self.mine = made if self.mine is None else None
                return count + 1, made


@pytest.mark.timeout(24 * 3600 if RACES > 5_000 else 180)
def test_two_writers_lose_no_update_and_nobodys_route(in_memory):
    sluice = in_memory
    sluice.run("route", "add", SHARED, "blackhole", "--owner", "both")
    racers = [Racer(sluice, owner, RACES // 2) for owner in ("red", "blue")]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    for racer in racers:
        if racer.failure is not None:
            raise racer.failure
    routes = {(row["prefix"], row["owner"]): row for row in sluice.show("routes")}
    assert routes[SHARED, "both"]["tag"] == RACES // 2 * 2, "an update was lost"
    assert sum(racer.conflicts for racer in racers) > 0, "they never met"
    for racer in racers:
        present = routes.get((CONTESTED, racer.owner))
        assert (present and present["generation"]) == racer.mine
    print(f"{RACES} rounds, refused {[racer.conflicts for racer in racers]} times")


def test_withdrawing_an_owner_reveals_the_next_while_traffic_flows(pair, sluice):
    sluice.apply(sluice.file.read_text() + "routes: [ { to: 10.9.0.0/16, via: 10.0.2.2 } ]\n")
    add = ("route", "add", "10.9.0.0/16", "via", "10.0.2.2", "dev", "wan", "--owner", "dhcp")
    assert pair.client.reaches("10.9.0.1")
    with Stream(pair.client, pair.server, "10.9.0.1") as stream:
        for _ in range(20):
            sluice.run(*add)
            used = {r["owner"]: r["active"] for r in sluice.show("routes")}
            assert used["dhcp"] and not used["static"]
            sluice.run("route", "withdraw", "--owner", "dhcp")
    assert stream.lost == [] and stream.in_order


def test_a_conflict_has_an_exit_code_and_says_what_is_there(sluice):
    sluice.run("route", "add", "10.9.0.0/16", "via", "10.0.2.2", "--owner", "dhcp")
    generation = sluice.generation
    swap = ("route", "add", "10.9.0.0/16", "blackhole", "--owner", "dhcp", "--if-generation")
    refused = sluice.run(*swap, str(generation - 1), check=False)
    assert refused.returncode == 3
    assert f"there is dhcp's of generation {generation}" in refused.stderr
    sluice.run(*swap, str(generation))
    assert sluice.generation == generation + 1
    refused = sluice.run("route", "del", "10.9.0.0/16", "--owner", "bgp", check=False)
    assert refused.returncode == 3


def test_a_table_is_loaded_marked_swept_and_outlives_both_processes(sluice, tmp_path):
    table = tmp_path / "table.ndjson"

    def write(prefixes):
        lines = [json.dumps({"set": {"to": to, "via": "10.0.2.2"}}) for to in prefixes]
        table.write_text("\n".join(lines))

    def of_bgp():
        rows = [row for row in sluice.show("routes") if row["owner"] == "bgp"]
        return {row["prefix"]: row.get("stale", False) for row in rows}

    def is_back(program, died):
        return sluice.processes().get(program) not in (None, died)

    first = [f"20.{i // 256}.{i % 256}.0/24" for i in range(10_000)]
    write(first)
    assert "+10000 routes" in sluice.run("route", "load", str(table), "--owner", "bgp").stdout
    sluice.run("route", "stale", "--owner", "bgp")
    assert all(of_bgp().values())
    for program in ("sluice-dataplane", "sluice-control"):
        died = sluice.processes()[program]
        os.kill(died, signal.SIGKILL)
        assert sluice.wait_until(lambda: is_back(program, died), patience=20)
    assert sluice.wait_until(sluice.committed, patience=20)
    write(first[5_000:])
    sluice.run("route", "load", str(table), "--owner", "bgp")
    stale = of_bgp()
    assert len(stale) == 10_000 and [to for to in first if stale[to]] == first[:5_000]
    assert "-5000 routes" in sluice.run("route", "sweep", "--owner", "bgp").stdout
    assert set(of_bgp()) == set(first[5_000:])

    generation = sluice.generation
    table.write_text(table.read_text() + '\n{"set":{"to":"21.0.0.0/24","metric":-1}}\n')
    refused = sluice.run("route", "load", str(table), "--owner", "bgp", check=False)
    assert refused.returncode == 1 and "line 5001: set.metric" in refused.stderr
    assert sluice.generation == generation
