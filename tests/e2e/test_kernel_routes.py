"""Routes that routing daemons write into the kernel's table are followed."""

import contextlib
import os
import signal
from pathlib import Path

from lab import Lab, Sluice, worker_core

PORTS = f"""\
dataplane: {{ cores: [{worker_core()}], memory: 256 }}
ports:
  lan: {{ device: "net_af_packet0,iface=lan", addresses: [10.0.1.1/24, "fd00:1::1/64"] }}
  wan: {{ device: "net_af_packet1,iface=wan", addresses: [10.0.2.1/24, "fd00:2::1/64"] }}
routes: [ {{ to: 10.7.0.0/16, via: 10.0.1.9, preference: 200 }} ]
"""
FOLLOWED = """\
tables: [learnt]
kernel-routes:
  - { protocols: [bird, zebra, bgp, dhcp] }
  - { table: 7, into: learnt }
"""
PATIENCE = 30


class Router:
    """A router whose kernel has routes."""

    def __init__(self, lab):
        self.namespace = lab.namespace()
        for name, net in (("lan", 1), ("wan", 2)):
            lab.wire(self.namespace, name, mac=f"02:00:00:00:{net:02}:02")
        self.sluice = Sluice(self.namespace, PORTS + FOLLOWED)

    def kernel(self, *words):
        self.namespace.run("ip", *words)

    def told(self):
        """What was learnt: of each prefix its owner, table, tag and next hops, and if it is in use."""
        return {
            (row["prefix"], row["owner"]): (row["table"], row["tag"], row["active"], hops(row["target"]))
            for row in self.sluice.show("routes")
            if (row.get("position") or {}).get("file") == "kernel"
        }

    def becomes(self, expected):
        def is_as_expected():
            with contextlib.suppress(AssertionError):  # the control process may be away
                return self.told() == expected

        if not self.sluice.wait_until(is_as_expected, PATIENCE):
            raise AssertionError(f"{self.told()}, not {expected}")


def hops(target):
    if isinstance(target, str):
        return target
    return [hop["via"] or hop["interface"] for hop in target["next-hops"]]


def test_what_daemons_write_is_followed():
    with Lab() as lab:
        router = Router(lab)
        over = ("dev", "wan", "onlink")
        # There before Sluice is; the neighbour is on the link, whatever the kernel thinks of it.
        router.kernel("link", "set", "wan", "up")
        router.kernel("route", "add", "10.7.0.0/16", "via", "10.0.2.2", *over, "proto", "bird")
        with router.sluice as sluice:
            bird = {("10.7.0.0/16", "kernel"): ("main", 12, True, ["10.0.2.2"])}
            router.becomes(bird)
            static = next(row for row in sluice.show("routes") if row["owner"] == "static")
            assert not static["active"], "it is a layer below"

            # Each protocol is its owner; those that are not followed are not.
            router.kernel("route", "add", "10.8.0.0/16", "via", "10.0.2.3", *over, "proto", "bgp")
            router.kernel("route", "add", "10.9.0.0/16", "via", "10.0.2.3", *over, "proto", "static")
            router.kernel("route", "add", "blackhole", "10.10.0.0/16", "proto", "zebra")
            router.kernel("route", "add", "10.11.0.0/16", "table", "7", "via", "10.0.2.4", *over)
            everything = bird | {
                ("10.8.0.0/16", "bgp"): ("main", 186, True, ["10.0.2.3"]),
                ("10.10.0.0/16", "kernel"): ("main", 11, True, "blackhole"),
                ("10.11.0.0/16", "kernel"): ("learnt", 3, True, ["10.0.2.4"]),
            }
            router.becomes(everything)

            # Replaced, and removed.
            router.kernel("route", "replace", "10.8.0.0/16", "via", "10.0.2.5", *over, "proto", "bgp")
            router.kernel("route", "del", "10.10.0.0/16")
            del everything["10.10.0.0/16", "kernel"]
            everything["10.8.0.0/16", "bgp"] = ("main", 186, True, ["10.0.2.5"])
            router.becomes(everything)

            # While the control process is away routes stay, and what has changed is found when it is
            # back: what is new, what has gone, and nothing of what has stayed.
            before = {row["prefix"]: row["generation"] for row in sluice.show("routes")}
            control = sluice.processes()["sluice-control"]
            os.kill(control, signal.SIGSTOP)
            router.kernel("route", "del", "10.8.0.0/16")
            router.kernel("route", "add", "10.12.0.0/16", "via", "10.0.2.2", *over, "proto", "dhcp")
            os.kill(control, signal.SIGKILL)
            del everything["10.8.0.0/16", "bgp"]
            everything["10.12.0.0/16", "dhcp"] = ("main", 16, True, ["10.0.2.2"])
            router.becomes(everything)
            after = {row["prefix"]: row["generation"] for row in sluice.show("routes")}
            assert after["10.7.0.0/16"] == before["10.7.0.0/16"]

            # More at once than can wait.
            lines = "".join(
                f"route add 20.{n >> 8}.{n & 255}.0/24 via 10.0.2.2 dev wan onlink proto bird\n"
                for n in range(5_000)
            )
            batch = sluice.directory / "batch"
            batch.write_text(lines)
            router.kernel("-batch", batch)
            many = len(everything) + 5_000
            assert sluice.wait_until(lambda: len(router.told()) == many, PATIENCE), len(router.told())

            router.kernel("route", "flush", "table", "main", "proto", "bird")
            kept = {at: route for at, route in everything.items() if route[1] != 12}
            router.becomes(kept)

            # Nobody else's route is touched, nor what somebody set in the same owner's name.
            sluice.run("route", "add", "10.13.0.0/16", "via", "10.0.2.2", "--owner", "kernel")
            router.kernel("route", "add", "10.13.0.0/16", "via", "10.0.2.9", *over, "proto", "bird")
            router.kernel("route", "add", "10.14.0.0/16", "via", "10.0.2.9", *over, "proto", "bird")
            router.becomes(kept | {("10.14.0.0/16", "kernel"): ("main", 12, True, ["10.0.2.9"])})
            mine = next(row for row in sluice.show("routes") if row["prefix"] == "10.13.0.0/16")
            assert hops(mine["target"]) == ["10.0.2.2"]

            # No longer followed.
            sluice.apply(PORTS + "tables: [learnt]\n")
            router.becomes({})


def test_what_the_kernel_had_to_drop_is_asked_for():
    with Lab() as lab:
        router = Router(lab)
        router.kernel("link", "set", "wan", "up")
        with router.sluice as sluice:
            control = sluice.processes()["sluice-control"]
            batch = sluice.directory / "batch"
            # A message that waits takes 768 bytes or more, and the kernel doubles the room that is asked
            # for: two messages a route are half as much again.
            room = min(int(Path("/proc/sys/net/core/rmem_max").read_text()), 8 << 20)
            count = max(2_000, room // 512)
            routes = [f"20.{n >> 8}.{n & 255}.0/24" for n in range(count)]
            adding = [f"route add {to} via 10.0.2.2 dev wan onlink proto bird" for to in routes]
            # More than the kernel keeps for one that does not listen; the last of it undoes the first.
            removing = [f"route del {to} proto bird" for to in routes[:-100]]
            batch.write_text("\n".join(adding + removing) + "\n")
            os.kill(control, signal.SIGSTOP)
            try:
                router.kernel("-batch", batch)
            finally:
                os.kill(control, signal.SIGCONT)
            assert sluice.logs("more news of routes than could wait", patience=PATIENCE), sluice.log
            router.becomes({(to, "kernel"): ("main", 12, True, ["10.0.2.2"]) for to in routes[-100:]})
