"""A real routing daemon: FRR speaks BGP with a neighbour and writes what it learns into the kernel,
and Sluice forwards by it. Debian: `apt install frr`."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest

from lab import Lab, Sluice, worker_core

FRR = Path("/usr/lib/frr")
pytestmark = pytest.mark.skipif(
    not (FRR / "bgpd").exists(), reason="FRR is not installed (apt install frr)"
)
CONFIGURATION = f"""\
dataplane: {{ cores: [{worker_core()}], memory: 256 }}
ports:
  lan: {{ device: "net_af_packet0,iface=lan", addresses: 10.0.1.1/24 }}
  wan: {{ device: "net_af_packet1,iface=wan", addresses: 10.0.2.1/24 }}
kernel-routes:
  - {{ protocols: [bgp] }}
"""
PREFIXES = [f"20.{n >> 8}.{n & 255}.0/24" for n in range(300)]
PATIENCE = 60


class Daemons:
    """Programs of FRR in a namespace, with a directory of their own."""

    def __init__(self, namespace):
        self.namespace = namespace
        self.directory = Path(tempfile.mkdtemp(prefix="sluice-e2e-frr-"))
        shutil.chown(self.directory, "frr", "frr")
        namespace.at_close(lambda: shutil.rmtree(self.directory, ignore_errors=True))

    def start(self, program, configuration, *options):
        file = self.directory / f"{program}.conf"
        file.write_text(configuration)
        here = self.directory
        return self.namespace.start(
            FRR / program,
            *("--config_file", file, "--pid_file", here / f"{program}.pid"),
            *("--socket", here / "zserv", "--vty_socket", here, "--vty_port", 0),
            *("--log", f"file:{here}/{program}.log"),
            *options,
        )

    def said(self):
        """What they have logged, for a test that fails."""
        return "".join(log.read_text() for log in self.directory.glob("*.log"))


def told(sluice):
    """The routes that BGP brought and that are in use: their prefixes and next hops."""
    with contextlib.suppress(AssertionError):
        return {
            row["prefix"]: [hop["via"] for hop in row["target"]["next-hops"]]
            for row in sluice.show("routes")
            if row["owner"] == "bgp" and row["active"]
        }
    return None


def test_what_a_bgp_neighbour_announces_is_forwarded_by():
    with Lab() as lab:
        router, neighbour = lab.namespace(), lab.namespace("neighbour")
        for name, net in (("lan", 1), ("wan", 2)):
            lab.wire(router, name, mac=f"02:00:00:00:{net:02}:02")
        # The daemons meet on a link of their own. What packets take is the wan; that its network is
        # there the kernel is told by a link that leads nowhere.
        lab.cable(router, "peer", neighbour, "eth0")
        router.run("ip", "address", "add", "10.0.9.1/30", "dev", "peer")
        neighbour.run("ip", "address", "add", "10.0.9.2/30", "dev", "eth0")
        lab.cable(router, "through", neighbour, "nowhere")
        router.run("ip", "address", "add", "10.0.2.254/24", "dev", "through")

        ours, theirs = Daemons(router), Daemons(neighbour)
        ours.start("zebra", "")
        ours.start(
            "bgpd",
            "router bgp 65001\n bgp router-id 10.0.9.1\n no bgp ebgp-requires-policy\n timers bgp 1 3\n"
            " neighbor 10.0.9.2 remote-as 65002\n neighbor 10.0.9.2 disable-connected-check\n"
            " neighbor 10.0.9.2 timers connect 1\n",
        )
        networks = "".join(f"  network {prefix}\n" for prefix in PREFIXES)
        announcing = theirs.start(
            "bgpd",
            "router bgp 65002\n bgp router-id 10.0.9.2\n no bgp ebgp-requires-policy\n no bgp network import-check\n"
            " timers bgp 1 3\n neighbor 10.0.9.1 remote-as 65001\n"
            " neighbor 10.0.9.1 timers connect 1\n address-family ipv4 unicast\n"
            f"  neighbor 10.0.9.1 route-map by-the-wan out\n{networks} exit-address-family\n"
            "route-map by-the-wan permit 10\n set ip next-hop 10.0.2.2\n",
            "--no_kernel",
        )
        with Sluice(router, CONFIGURATION) as sluice:
            everything = {prefix: ["10.0.2.2"] for prefix in PREFIXES}
            if not sluice.wait_until(lambda: told(sluice) == everything, PATIENCE):
                raise AssertionError(f"{told(sluice)}\n{ours.said()}{theirs.said()}")
            # A neighbour that dies takes its routes along.
            announcing.terminate()
            assert sluice.wait_until(lambda: told(sluice) == {}, PATIENCE), told(sluice)
