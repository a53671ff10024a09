"""Hooks from shared objects: in Sluice's C interface, and modules written for Solaris' interface."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab import Stream, datagram, through_hook

from test_hooks import hook, order

ROOT = Path(__file__).resolve().parents[2]
TURNS = int(os.environ.get("SLUICE_HOOK_TURNS", 150))
RATE = int(os.environ.get("SLUICE_RATE", 2000))


def built(source, to, *flags):
    """The shared object of a source file, as an author builds it."""
    include = "include/sluice/solaris" if "sys/neti.h" in (ROOT / source).read_text() else "include"
    compiler = ["cc", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-I", ROOT / include]
    subprocess.run([*compiler, *flags, "-o", to, ROOT / source], check=True)
    return to


def module(shown, name):
    return next(row for row in shown["modules"] if row["name"] == name)


def numbers(shown, name):
    """A module's own numbers."""
    return {row["name"]: row["value"] for row in module(shown, name)["counters"]}


def buffers(sluice):
    """Packet buffers that are taken."""
    return sum(pool["in_use"] for pool in sluice.show("status")["dataplane"]["mempools"])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("examples/c/hundredth.c", ("--event", "physical-in", "--protocol", "inet")),
        ("examples/c/solaris/hundredth.c", ()),
    ],
    ids=["c", "solaris"],
)
def test_of_ten_thousand_packets_a_hundred_are_lost(pair, tmp_path, source, words):
    """5,000 pings are 10,000 packets through the hook, and exactly 100 of them are lost."""
    file = built(source, tmp_path / "hundredth.so")
    with pair.sluice() as sluice:
        assert pair.client.reaches("10.0.2.2")
        before = sluice.drops().get("hook", 0)
        sluice.run("hook", "load", file, *words)
        seen, answers = through_hook(sluice, pair.client, "10.0.2.2", 5000, "hundredth")
        shown = sluice.show("hooks")
        assert (seen["packets"], seen["dropped"], answers) == (10_000, 100, 4_900)
        assert sluice.drops()["hook"] - before == 100
        if words:
            assert {row["name"]: row["value"] for row in seen["counters"]}["hundredth"] == 100
            assert seen["program"] == str(file) and len(seen["digest"]) == 64
            assert sluice.logs("hook", "hundredth", "PHYSICAL_IN"), "logged off the packet's path"
        else:
            assert numbers(shown, "hundredth") == {"hundredth:dropped": 100}
            assert "module hundredth: default created" in sluice.run("show", "hooks").stdout
        sluice.run("hook", "unload", "hundredth")
        assert pair.client.reaches("10.0.2.2")
        assert sluice.show("hooks")["hooks"] == []


def test_every_function_of_the_solaris_interface_answers(pair, tmp_path):
    """The module counts what answered as its manual page says, and what did not."""
    file = built("tests/c/all.c", tmp_path / "all.so")
    with pair.sluice() as sluice:
        assert pair.client.reaches("10.0.2.2")
        level = buffers(sluice)
        sluice.run("hook", "load", file)
        # The packet that is kept and injected comes by twice.
        assert sluice.wait_until(lambda: pair.client.reaches("10.0.2.2"))
        enough = sluice.wait_until(lambda: numbers(sluice.show("hooks"), "all")["all:packets"] > 5)
        assert enough or pair.client.reaches("10.0.2.2")
        shown = sluice.show("hooks")
        told = numbers(shown, "all")
        assert told["all:wrong"] == 0, sluice.log[-3000:]
        assert told["all:right"] > 60 and told["all:notices"] >= 16, told
        placed = {row["name"]: row["event"] for row in shown["hooks"]}
        expected = {"all-in": "physical-in", "all-observer": "observing", "all-nic": "nic-events"}
        assert placed == expected
        # An interface changes while it listens, and an instance comes and goes.
        usual = sluice.file.read_text()
        sluice.apply(usual.replace("10.0.1.1/24", "10.0.1.1/24, 10.0.9.1/24"))
        heard = lambda: numbers(sluice.show("hooks"), "all")["all:nics"] > 0  # noqa: E731
        assert sluice.wait_until(heard)
        sluice.apply(usual + "instances: { blue: {} }\n")
        assert set(module(sluice.show("hooks"), "all")["instances"]) == {"default", "blue"}
        sluice.apply(usual)
        sluice.run("hook", "unload", "all")
        assert sluice.logs("all: ", " right, 0 wrong")
        assert sluice.wait_until(lambda: buffers(sluice) <= level), "no buffer is left behind"
        assert sluice.show("hooks")["hooks"] == [] and sluice.show("hooks").get("modules", []) == []


def test_what_is_freed_twice_or_never_is_counted_and_named(pair, tmp_path):
    file = built("tests/c/careless.c", tmp_path / "careless.so")
    with pair.sluice() as sluice:
        assert pair.client.reaches("10.0.2.2")
        sluice.run("hook", "load", file, "--event", "physical-in")
        level = buffers(sluice)
        for port in (7001, 7002, 7003, 7004):
            datagram(pair.client, "10.0.2.2", port)

        def wrong():
            counters = hook(sluice.show("hooks"), "careless")["counters"]
            return {row["name"]: row["value"] for row in counters}["packets-not-held"]

        assert sluice.wait_until(lambda: wrong() == 2), "one freed twice, one never lent"
        # It holds a copy, and a packet that it has taken.
        assert sluice.wait_until(lambda: buffers(sluice) >= level + 2)
        assert pair.client.reaches("10.0.2.2")
        sluice.run("hook", "unload", "careless")
        assert sluice.logs("careless.so", "held=2", "they are freed")
        assert sluice.logs("careless.so", "twice=1", "foreign=1")
        assert sluice.wait_until(lambda: buffers(sluice) <= level)
        assert pair.client.reaches("10.0.2.2")


MINIMAL = """
#include <sluice/hook.h>
static uint32_t packet(void *context, struct sluice_packet *packet)
{ (void)context; (void)packet; return SLUICE_CONTINUE; }
const struct sluice_hook_program sluice_hook_program = { .abi = SLUICE_HOOK_ABI,
.size = sizeof(struct sluice_hook_program), .name = "minimal", .summary = "passes",
.events = SLUICE_PHYSICAL_IN, .packet = packet };
"""
BAD = {
    "version": (MINIMAL.replace(".abi = SLUICE_HOOK_ABI", ".abi = 99"), "built for version 99"),
    "size": (MINIMAL.replace("sizeof(struct sluice_hook_program)", "8"), "`size` is 8"),
    "packet": (MINIMAL.replace(".packet = packet", ".flags = 0 * sizeof(packet)"), "`packet` is NULL"),
    "events": (MINIMAL.replace("= SLUICE_PHYSICAL_IN", "= 0x8000"), "`events` is 0x8000"),
    "name": (MINIMAL.replace('"minimal"', "0"), "`name` is NULL"),
    "event": (MINIMAL.replace("PHYSICAL_IN", "FORWARDING"), "does not run at PHYSICAL_IN"),
    "symbol": (MINIMAL + "void gone(void); void *kept(void); void *kept(void) { return gone; }", "gone"),
    "foreign": ("int nothing(void); int nothing(void) { return 0; }", "it is not for Sluice"),
    "module": ("#include <sys/neti.h>\nint _init(void) { return 0; }\nint _fini(void) { return 0; }",
               "is a module, which registers its hooks itself"),
}


def test_a_file_that_is_no_hook_is_refused_by_name(pair, tmp_path):
    with pair.sluice() as sluice:
        before = sluice.generation
        with Stream(pair.client, pair.server, "10.0.2.2") as stream:
            for name, (source, told) in BAD.items():
                (tmp_path / f"{name}.c").write_text(source)
                file = built(tmp_path / f"{name}.c", tmp_path / f"{name}.so")
                load = ("hook", "load", "bad", "--program", file, "--event", "physical-in")
                refused = sluice.run(*load, check=False)
                assert refused.returncode != 0 and told in refused.stderr, refused.stderr
                assert str(file) in refused.stderr and "`bad`" in refused.stderr, refused.stderr
            for text, told in ((b"", "is not an ELF file"), (b"#!/bin/sh\n", "is not an ELF file")):
                (tmp_path / "text.so").write_bytes(text)
                refused = sluice.run(
                    "hook", "load", tmp_path / "text.so", "--event", "physical-in", check=False
                )
                assert refused.returncode != 0 and told in refused.stderr, refused.stderr
            hook_alone = built(tmp_path / "event.c", tmp_path / "alone.so")
            for file, told in (
                (tmp_path / "nothing.so", "cannot read"),
                (tmp_path, "is no file"),
                (hook_alone, "say at which `event` it stands"),
            ):
                words = () if file == hook_alone else ("--event", "physical-in")
                refused = sluice.run("hook", "load", "bad", "--program", file, *words, check=False)
                assert refused.returncode != 0 and told in refused.stderr, refused.stderr
        assert stream.lost == []
        assert sluice.generation == before


def test_a_setting_is_refused_in_the_hooks_own_words(pair, tmp_path):
    file = built("examples/c/hundredth.c", tmp_path / "hundredth.so")
    with pair.sluice() as sluice:
        load = ("hook", "load", file, "--event", "physical-in", "--set")
        refused = sluice.run(*load, "every=0", check=False)
        assert "setting `every`: `0`: 1 or more is possible" in refused.stderr
        refused = sluice.run(*load, "evry=1", check=False)
        assert "has no setting `evry`; it has `every`" in refused.stderr


def test_a_file_that_has_changed_is_another_hook(pair, tmp_path):
    """Written over while it runs, applied again, and gone when the dataplane starts anew."""
    file = tmp_path / "mine.so"
    built("examples/c/pass.c", file)
    hooks = f"hooks: {{ mine: {{ file: {file}, event: physical-in }} }}\n"
    with pair.sluice(hooks) as sluice:
        assert pair.client.reaches("10.0.2.2")
        first = hook(sluice.show("hooks"), "mine")["digest"]
        assert f"mine: {file}, sha256 {first[:12]}" in sluice.run("show", "hooks").stdout
        # The same inode: what runs must not be what is written.
        other = built("examples/c/hundredth.c", tmp_path / "other.so")
        file.write_bytes(other.read_bytes())
        assert pair.client.reaches("10.0.2.2")
        sluice.apply(sluice.file.read_text())
        second = hook(sluice.show("hooks"), "mine")
        assert second["digest"] != first and second["running"]
        assert any(row["name"] == "hundredth" for row in second["counters"])
        shutil.copy(built("examples/c/pass.c", tmp_path / "again.so"), file)
        sluice.run("hook", "load", "late", "--program", "pass-packet", "--event", "physical-in")
        os.kill(sluice.processes()["sluice-dataplane"], 9)
        assert sluice.wait_until(lambda: pair.client.reaches("10.0.2.2"), 20)
        assert sluice.wait_until(sluice.committed, 20)
        left_out = hook(sluice.show("hooks"), "mine")
        assert not left_out["running"] and "has changed since" in left_out["reason"]
        assert order(sluice) == ["flow", "ingress-filter", "late"]
        assert sluice.logs("mine.so has changed since it was committed", "left out")
        # Applied again, it is what it is now.
        sluice.apply(sluice.file.read_text())
        assert hook(sluice.show("hooks"), "mine")["running"]


@pytest.mark.timeout(max(120, TURNS))
def test_objects_come_and_go_under_load(alternating, tmp_path):
    """A hook and a module, loaded and unloaded in turn: nothing is lost or overtaken."""
    halves = alternating.halves
    usual = alternating.configuration("A")
    one = built("examples/c/pass.c", tmp_path / "pass.so")
    two = built("examples/c/solaris/hundredth.c", tmp_path / "module.so", "-DEVERY=1000000000")
    hooks = (
        f"hooks: {{ one: {{ file: {one}, event: physical-in, order: first }} }}\n",
        f"hooks:\n  one: {{ file: {one}, event: forwarding }}\n  two: {{ file: {two} }}\n",
        "",
    )
    with halves.control() as control, alternating.load(RATE) as load:
        for turn in range(TURNS):
            control.apply(usual + hooks[turn % len(hooks)])
        control.apply(usual)
    alternating.assert_whole(load)
    drops = halves.ask("/v1/drops")
    assert not [row for row in drops if re.match("hook", row["reason"])]
