"""The running appliance follows its file: ports come and go, addresses and MTUs change."""

import re

import pytest

from lab import Stream
from lab.sluice import interfaces

DMZ = """\
  dmz:
    device: net_af_packet2,iface=dmz
    addresses: [10.0.3.1/24, "fd00:3::1/64"]
"""


@pytest.fixture
def dmz(pair):
    """A third host, on a cable to a port that the file does not name yet."""
    host = pair.lab.host("dmz")
    pair.lab.cable(host, "eth0", pair.router, "dmz")
    host.address("10.0.3.2/24", "fd00:3::2/64")
    host.route("default", "10.0.3.1")
    host.route("::/0", "fd00:3::1")
    return host


def test_a_port_comes_and_goes_and_the_others_lose_nothing(pair, dmz):
    with pair.sluice() as sluice:
        without = sluice.file.read_text()
        before = interfaces(pair.router)["dmz"]
        assert pair.client.reaches("10.0.2.2") and not pair.client.reaches("10.0.3.2")
        with Stream(pair.client, pair.server, "10.0.2.2") as stream:
            for _ in range(3):
                sluice.apply(without + DMZ)
                assert sluice.wait_until(lambda: sluice.port("dmz")["link"])
                for address in ("10.0.3.2", "fd00:3::2"):
                    assert pair.client.reaches(address), address
                sluice.apply(without)
                assert [row["name"] for row in sluice.show("ports")] == ["lan", "wan"]
                assert interfaces(pair.router)["dmz"] == before, "the kernel's again"
                assert "Net Unreachable" in pair.client.ping("10.0.3.2").text
        assert stream.lost == [] and stream.in_order


def test_a_port_whose_interface_is_missing_changes_nothing(pair):
    with pair.sluice() as sluice:
        before = sluice.generation
        with Stream(pair.client, pair.server, "10.0.2.2") as stream:
            refused = sluice.apply(sluice.file.read_text() + DMZ, check=False)
            assert refused.returncode != 0
            assert "dmz" in refused.stderr and "sluice.yaml:" in refused.stderr
        assert stream.lost == []
        assert sluice.generation == before
        assert "dmz" not in {row["name"] for row in sluice.show("ports")}


def test_addresses_change_while_it_runs(pair):
    with pair.sluice() as sluice:
        assert pair.client.reaches("10.0.2.2") and pair.client.reaches("fd00:2::2")
        moved = sluice.file.read_text()
        moved = moved.replace("10.0.1.1/24", "10.0.1.254/24").replace("fd00:1::1/", "fd00:1::fe/")
        sluice.apply(moved)
        assert not pair.client.reaches("10.0.1.1") and not pair.client.reaches("fd00:1::1")
        pair.client.route("default", "10.0.1.254")
        pair.client.route("::/0", "fd00:1::fe")
        for address in ("10.0.1.254", "10.0.2.2", "fd00:1::fe", "fd00:2::2"):
            assert pair.client.reaches(address), address


def test_neighbours_of_a_network_that_went_are_forgotten(pair):
    with pair.sluice() as sluice:
        assert pair.client.reaches("10.0.2.2") and pair.client.reaches("fd00:2::2")

        def known():
            return {row["address"] for row in sluice.show("neighbours")}

        assert {"10.0.1.2", "fd00:1::2", "10.0.2.2"} <= known()
        sluice.apply(sluice.file.read_text().replace("10.0.1.1/24", "10.9.1.1/24"))
        assert "10.0.1.2" not in known()
        assert {"fd00:1::2", "10.0.2.2"} <= known(), "the others stay"


def test_the_mtu_changes_while_it_runs(pair):
    def largest(size):
        return pair.client.ping("10.0.2.2", "-M", "do", "-s", size - 28)

    with pair.sluice() as sluice:
        usual = sluice.file.read_text()
        assert largest(1500).received == 3
        sluice.apply(re.sub(r"(iface=wan\n +mtu:) 1500", r"\1 1400", usual))
        assert "mtu = 1400" in largest(1500).text
        assert largest(1400).received == 3
        sluice.apply(usual)
        pair.client.run("ip", "route", "flush", "cache")
        assert largest(1500).received == 3


def test_a_port_changes_its_device_while_it_runs(pair):
    with pair.sluice() as sluice:
        usual = sluice.file.read_text()
        assert pair.client.reaches("10.0.2.2")
        sluice.apply(usual.replace("net_af_packet0,iface=lan", "net_af_xdp0,iface=lan"))
        assert pair.client.reaches("10.0.2.2") and pair.client.reaches("fd00:2::2")
        sluice.apply(usual)
        assert pair.client.reaches("10.0.2.2") and pair.client.reaches("fd00:2::2")


def test_a_moved_line_is_no_change_and_explain_knows_where_it_went(pair):
    rule = """
        filters:
          forward:
            rules:
              - { name: no-telnet, protocol: tcp, destination-port: 23, action: drop }
    """
    with pair.sluice(rule) as sluice:
        told = sluice.apply("# a comment\n" + sluice.file.read_text()).stdout
        assert not re.search(r"[~+-]\d", told), told
        lines = sluice.file.read_text().splitlines()
        line = next(number for number, text in enumerate(lines, 1) if "no-telnet" in text)
        answer = sluice.explain(in_="lan", src="10.0.1.2", dst="10.0.2.2", proto="tcp", dport=23)
        assert answer["rule"]["position"]["line"] == line


def test_the_socket_speaks_http(pair):
    with pair.sluice() as sluice:
        socket = sluice.directory / "run" / "control.sock"
        fetch = ("curl", "-sS", "-m", 5, "--unix-socket", socket, "http://sluice/v1/status")
        assert '"committed"' in pair.router.run(*fetch).stdout
