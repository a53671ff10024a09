"""Routes by live command, beside those of the file."""

import os
import signal

import pytest

FILE_ROUTES = """
routes:
  - { to: 10.9.0.0/16, via: 10.0.2.2 }
"""


@pytest.fixture
def appliance(pair):
    """Behind the server: 10.9.0.1, 10.77.0.1 and fd77::1."""
    pair.server.address("10.9.0.1/32", "10.77.0.1/32", "fd77::1/128", interface="lo")
    with pair.sluice(FILE_ROUTES) as pair.running:
        yield pair


def owners(sluice, prefix):
    return {row["owner"]: row["active"] for row in sluice.show("routes") if row["prefix"] == prefix}


@pytest.mark.parametrize(
    ("prefix", "via", "address"),
    [("10.77.0.0/16", "10.0.2.2", "10.77.0.1"), ("fd77::/16", "fd00:2::2", "fd77::1")],
)
def test_a_route_is_added_and_removed(appliance, prefix, via, address):
    sluice, client = appliance.running, appliance.client
    assert not client.reaches(address)
    sluice.run("route", "add", prefix, "via", via)
    assert client.reaches(address)
    assert owners(sluice, prefix) == {"cli": True}
    sluice.run("route", "del", prefix)
    assert not client.reaches(address)


def test_a_later_apply_leaves_live_routes(appliance):
    sluice, client = appliance.running, appliance.client
    sluice.run("route", "add", "10.77.0.0/16", "via", "10.0.2.2", "dev", "wan")
    sluice.apply(sluice.file.read_text().replace("10.9.0.0/16", "10.10.0.0/16"))
    assert client.reaches("10.77.0.1"), "of owner cli: the file does not speak of it"
    assert not client.reaches("10.9.0.1"), "of the file: gone with its line"


def test_a_live_route_covers_that_of_the_file_until_it_goes(appliance):
    sluice, client = appliance.running, appliance.client
    assert client.reaches("10.9.0.1")
    sluice.run("route", "add", "10.9.0.0/16", "blackhole")
    assert not client.reaches("10.9.0.1")
    assert owners(sluice, "10.9.0.0/16") == {"cli": True, "static": False}
    sluice.run("route", "del", "10.9.0.0/16")
    assert client.reaches("10.9.0.1")


def test_live_routes_survive_the_death_of_either_process(appliance):
    sluice, client = appliance.running, appliance.client
    sluice.run("route", "add", "10.77.0.0/16", "via", "10.0.2.2")
    for program in ("sluice-control", "sluice-dataplane"):
        os.kill(sluice.processes()[program], signal.SIGKILL)
        assert sluice.wait_until(lambda: client.ping("10.77.0.1", count=1).received == 1)
        assert sluice.wait_until(sluice.committed)
        assert owners(sluice, "10.77.0.0/16") == {"cli": True}, f"after the death of {program}"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("add 10.77.0.1/16 blackhole", "10.77.0.0/16"),
        ("add 10.77.0.0/16 via 192.0.2.1", "192.0.2.1"),
        ("add 10.77.0.0/16 via 10.0.2.2 dev nosuch", "nosuch"),
        ("add 10.77.0.0/16 sideways", "sideways"),
        ("del 10.78.0.0/16", "10.78.0.0/16"),
    ],
)
def test_a_wrong_route_is_refused_and_changes_nothing(appliance, command, told):
    sluice = appliance.running
    before = sluice.generation
    refused = sluice.run("route", *command.split(), check=False)
    assert refused.returncode != 0
    assert told in refused.stderr
    assert sluice.generation == before
