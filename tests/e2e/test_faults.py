"""Bad input and dying processes: a clear error, nothing lost, nothing left running."""

import os
import signal

import pytest

from lab import Sluice, Stream, pair_configuration
from lab.load import slowness
from lab.sluice import interfaces

ONE_RULE = """
filters:
  forward:
    rules:
      - { name: no-udp-7, protocol: udp, destination-port: 7, action: drop }
"""


def refused(pair, configuration, *told, wrapper=()):
    """`sluice up` ends by itself, says why, and leaves nothing behind."""
    before = interfaces(pair.router)
    sluice = Sluice(pair.router, configuration)
    try:
        ended = pair.router.run(
            *wrapper, *sluice.command("up", "-c", sluice.file), check=False, timeout=20
        )
        output = ended.stdout + ended.stderr
        assert ended.returncode not in (0, 101), output
        assert "panicked" not in output
        for words in told:
            assert words in output, f"{words!r} is not in:\n{output}"
        assert sluice.processes() == {}
        assert interfaces(pair.router) == before
    finally:
        sluice.discard()


# -- what the file asks for cannot be ---------------------------------------------------------


IMPOSSIBLE = {
    "no such interface": ({"lan": "net_af_packet0,iface=nosuch"}, ["lan", "nosuch"]),
    "no such PCI device": ({"lan": "0000:ff:1f.7"}, ["lan", "0000:ff:1f.7"]),
    "no such driver": ({"lan": "net_nosuch0"}, ["lan", "net_nosuch0"]),
    "interface used twice": ({"lan": "net_af_packet0,iface=wan"}, ["lan", "wan"]),
    "device used twice": ({"wan": "net_af_packet0,iface=wan"}, ["net_af_packet0"]),
    "no such core": ({"cores": [999]}, ["999", "core"]),
    "too little memory": ({"memory": 1}, ["memory"]),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_f24_what_cannot_be_is_refused_and_named(pair, kind):
    options, told = IMPOSSIBLE[kind]
    refused(pair, pair_configuration(**options), *told)


def test_an_interface_with_addresses_is_refused_unless_stealing_is_asked_for(pair):
    pair.router.run("ip", "addr", "add", "192.0.2.1/24", "dev", "lan")
    refused(pair, pair_configuration(), "lan", "192.0.2.1", "steal")
    with pair.sluice(lan_options="steal: true"):
        assert pair.client.reaches("10.0.2.2")
    # `with` has checked that the address is back


@pytest.mark.parametrize("capability", ["net_raw", "net_admin"])
def test_f24_a_missing_capability_is_named(pair, capability):
    drop = f"-{capability}"
    refused(
        pair,
        pair_configuration(),
        f"CAP_{capability.upper()}",
        wrapper=("setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"),
    )


def test_a_second_appliance_in_the_same_directory_is_refused(pair):
    with pair.sluice() as sluice:
        second = sluice.run("up", "-c", sluice.file, check=False)
        assert second.returncode != 0
        first = [pid for program, pid in sluice.processes().items() if program != "sluice"]
        assert any(str(pid) in second.stderr for pid in first), second.stderr
        assert pair.client.reaches("10.0.2.2")


# -- the file is wrong ------------------------------------------------------------------------

WRONG_FILES = {
    "unknown key": (b"prots: {}\n", [":1:1", "prots"]),
    "not UTF-8": (b"ports: {\xff\xfe}\n", ["UTF-8"]),
    "tabs": (b"ports:\n\tlan: {}\n", [":2:"]),
    "deep": (b"ports: " + b"[" * 100_000, [":1:"]),
    "laughs": (
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (n, n, b"*%c," % (n - 1) * 9) for n in b"bcdefghij"),
        [":"],
    ),
    "duplicate key": (b"ports: {}\nports: {}\n", [":2:1", "ports"]),
    "huge": (b"# " + b"x" * 80_000_000 + b"\n", ["80000003 bytes"]),
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_a_wrong_file_is_refused_with_its_place(pair, kind):
    content, told = WRONG_FILES[kind]
    sluice = Sluice(pair.router, "")
    try:
        sluice.file.write_bytes(content)
        done = pair.router.run(*sluice.command("check", sluice.file), check=False, timeout=10)
        assert done.returncode not in (0, 101) and "panicked" not in done.stderr
        for words in ["sluice.yaml", *told]:
            assert words in done.stderr, done.stderr
    finally:
        sluice.discard()


def test_all_mistakes_are_shown_together(pair):
    configuration = pair_configuration(
        """
        routes:
          - { to: 10.9.0.1/16, via: 10.0.2.2 }
          - { to: 10.8.0.0/16, via: 192.0.2.9 }
        filters:
          forward:
            rules:
              - { name: r, in: nosuch, action: drop }
        """
    ).replace("10.0.2.1/24", "10.0.1.9/24")
    sluice = Sluice(pair.router, configuration)
    try:
        done = pair.router.run(*sluice.command("check", sluice.file), check=False)
        assert done.returncode != 0
        for words in ("10.9.0.1/16", "192.0.2.9", "nosuch", "10.0.1.9/24"):
            assert words in done.stderr, done.stderr
    finally:
        sluice.discard()


def test_applying_a_wrong_file_leaves_the_policy_as_it_was(pair):
    with pair.sluice(ONE_RULE) as sluice:
        right, before = sluice.file.read_text(), sluice.generation
        misspelt = right.replace("action: drop", "action: explode")
        for wrong in ("ports: [", right + "surprise: 1\n", misspelt):
            failed = sluice.apply(wrong, check=False)
            assert failed.returncode != 0 and "sluice.yaml:" in failed.stderr
        assert sluice.generation == before
        assert "no-udp-7" in sluice.rules()
        assert pair.client.reaches("10.0.2.2")


# -- processes die ----------------------------------------------------------------------------


def test_forwarding_goes_on_without_a_control_process(pair):
    with pair.sluice(ONE_RULE) as sluice:
        assert pair.client.reaches("10.0.2.2")
        before, victim = sluice.generation, sluice.processes()["sluice-control"]
        with Stream(pair.client, pair.server, "10.0.2.2") as stream:
            os.kill(victim, signal.SIGKILL)
            assert sluice.wait_until(
                lambda: sluice.processes().get("sluice-control") not in (None, victim)
            ), "sluice up starts it again"
            assert sluice.wait_until(sluice.committed)
            stream.wait_for(500)
        assert stream.lost == [] and stream.in_order
        assert sluice.generation == before
        sluice.run("route", "add", "10.77.0.0/16", "blackhole")


def test_a_dead_dataplane_comes_back_with_its_policy(pair):
    with pair.sluice(ONE_RULE) as sluice:
        assert pair.client.reaches("10.0.2.2")
        victim = sluice.processes()["sluice-dataplane"]
        with Stream(pair.client, pair.server, "10.0.2.2") as stream:
            os.kill(victim, signal.SIGKILL)
            assert sluice.wait_until(
                lambda: sluice.processes().get("sluice-dataplane") not in (None, victim)
            )
            assert stream.wait_for(200, patience=8.0), "no traffic after the restart"
        assert stream.gap < 2.0 * slowness(), f"{stream.gap} s without traffic"
        assert pair.client.reaches("fd00:2::2")
        with Stream(pair.client, pair.server, "10.0.2.2", port=9) as passes:
            assert passes.wait_for(10)
        assert "no-udp-7" in sluice.rules()


def test_a_dying_supervisor_takes_both_along(pair):
    sluice = pair.sluice()
    try:
        sluice.up()
        os.kill(sluice.processes()["sluice"], signal.SIGKILL)
        sluice.killed()
        assert sluice.wait_until(lambda: sluice.processes() == {}, patience=10), sluice.processes()
    finally:
        sluice.discard()


def test_a_link_that_goes_and_comes_back(pair):
    with pair.sluice() as sluice:
        assert pair.client.reaches("10.0.2.2")
        for _ in range(10):
            pair.server.run("ip", "link", "set", "eth0", "down")
            assert sluice.wait_until(lambda: not sluice.port("wan")["link"])
            pair.server.run("ip", "link", "set", "eth0", "up")
            assert sluice.wait_until(lambda: sluice.port("wan")["link"])
        pair.server.route("default", "10.0.2.1")
        assert sluice.wait_until(lambda: pair.client.ping("10.0.2.2", count=1).received == 1)
