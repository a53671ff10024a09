"""Three stations around one router, for tests that look at every byte."""

from .sluice import Sluice, worker_core

_CONFIGURATION = """\
ports:
  lan:
    device: net_af_packet0,iface=lan
    addresses: [10.0.1.1/24, "fd00:1::1/64"]
  wan:
    device: net_af_packet1,iface=wan
    addresses: [10.0.2.1/24, "fd00:2::1/64"]
  thin:
    device: net_af_packet2,iface=thin
    mtu: 1280
    addresses: [10.0.3.1/24, "fd00:3::1/64"]
neighbours:
  - { interface: lan, address: 10.0.1.2, mac: "02:00:00:00:01:02" }
  - { interface: lan, address: "fd00:1::2", mac: "02:00:00:00:01:02" }
  - { interface: wan, address: 10.0.2.2, mac: "02:00:00:00:02:02" }
  - { interface: wan, address: 10.0.2.3, mac: "02:00:00:00:02:03" }
  - { interface: wan, address: "fd00:2::2", mac: "02:00:00:00:02:02" }
  - { interface: wan, address: "fd00:2::3", mac: "02:00:00:00:02:03" }
  - { interface: thin, address: 10.0.3.2, mac: "02:00:00:00:03:02" }
  - { interface: thin, address: "fd00:3::2", mac: "02:00:00:00:03:02" }
"""


class Stations:
    """`lan`, `wan` and `thin` (MTU 1280): wires of a running Sluice, each with a station
    `10.0.N.2` and `fd00:N::2` whose link address the router has from its configuration. On `wan`
    there is a second, `10.0.2.3`. Answers are up to the test: no kernel lives there. `limits` are
    those of the dataplane."""

    def __init__(self, lab, limits="{}"):
        router = lab.namespace()
        self.lan = lab.wire(router, "lan", mac="02:00:00:00:01:02")
        self.wan = lab.wire(router, "wan", mac="02:00:00:00:02:02")
        self.thin = lab.wire(router, "thin", mac="02:00:00:00:03:02")
        dataplane = f"{{ cores: [{worker_core()}], memory: 256, limits: {limits} }}"
        self._configuration = f"dataplane: {dataplane}\n{_CONFIGURATION}"
        self.sluice = Sluice(router, self._configuration)

    def __enter__(self):
        self.sluice.__enter__()
        return self

    def __exit__(self, *failure):
        self.sluice.__exit__(*failure)

    def configure(self, more=""):
        """Applies the usual configuration and `more` YAML."""
        self.sluice.apply(self._configuration + more)

    def drain(self):
        """Forgets what came in so far."""
        for wire in (self.lan, self.wan, self.thin):
            wire.drain()
