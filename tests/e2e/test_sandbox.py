"""Programs in the sandbox: loaded under traffic, doing what they are for, and refused by name."""

import os
import socket

import pytest

from lab import Stream, datagram, through_hook
from lab.bpf import compiled

TURNS = int(os.environ.get("SLUICE_HOOK_TURNS", 150))
RATE = int(os.environ.get("SLUICE_RATE", 2000))


def hook(shown, name):
    return next(row for row in shown["hooks"] if row["name"] == name)


def counters(sluice, name):
    """What a hook has counted, by name."""
    return {one["name"]: one["value"] for one in hook(sluice.show("hooks"), name)["counters"]}


def test_every_hundredth_packet_is_lost(pair, tmp_path):
    """1,000 pings are 2,000 packets through the program, and exactly 20 of them are lost."""
    with pair.sluice() as sluice:
        assert pair.client.reaches("10.0.2.2")
        program = compiled("hundredth", tmp_path)
        sluice.run("hook", "load", program, "--event", "physical-in", "--protocol", "inet")
        seen, answers = through_hook(sluice, pair.client, "10.0.2.2", 1000, "hundredth")
        assert (seen["packets"], seen["dropped"], answers) == (2_000, 20, 980)
        assert sluice.logs("hook", "hundredth", "PHYSICAL_IN"), "logged off the packet's path"


def test_a_program_counts_and_blocks_what_it_is_told(pair, tmp_path):
    with pair.sluice() as sluice, pair.server.entered():
        passes = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        passes.bind(("10.0.2.2", 4001))
        passes.settimeout(20)
        load = ("hook", "load", "--event", "forwarding")
        sluice.run(*load, compiled("count", tmp_path))
        block = compiled("port_block", tmp_path)
        wrong = sluice.run(*load, "blocks", "--program", block, "--set", "ports=1,x", check=False)
        assert wrong.returncode == 3 and "`1,x`: invalid digit" in wrong.stderr, wrong.stderr
        wrong = sluice.run(*load, "blocks", "--program", block, "--set", "ports=0", check=False)
        assert "1 to 65535 are possible" in wrong.stderr, wrong.stderr
        sluice.run(*load, "blocks", "--program", block, "--set", "ports=4000,4002")
        assert pair.client.reaches("10.0.2.2")
        for port in (4000, 4001, 4002):
            datagram(pair.client, "10.0.2.2", port)
        assert passes.recv(64) == b"poison"
        assert sluice.wait_until(lambda: counters(sluice, "blocks") == {"blocked": 2})
        seen = counters(sluice, "count")
        assert (seen["udp"], seen["tcp"], seen["to-itself"]) == (3, 0, 0)
        assert seen["other"] >= 2
        passes.close()


# The destination port of UDP becomes another; what is at 99 is made no packet.
REWRITES = """{
	if (packet->family != 4 || packet->protocol != 17 || packet->data[0] != 0x45)
		return SLUICE_CONTINUE;
	if (sluice_load(packet, 22, 2) == 4000) {
		packet->data[22] = 4001 >> 8;
		packet->data[23] = 4001 & 0xff;
		sluice_checksums(packet);
	}
	if (packet->dst_port == 99)
		packet->data[0] = 0x4f;
	return SLUICE_CONTINUE;
}"""


def test_what_a_program_writes_is_checked_as_any_packet_is(pair, tmp_path):
    with pair.sluice() as sluice, pair.server.entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("10.0.2.2", 4001))
        receiver.settimeout(20)
        program = compiled(REWRITES, tmp_path)
        sluice.run("hook", "load", "tried", "--program", program, "--event", "physical-in")
        datagram(pair.client, "10.0.2.2", 4000, b"rewritten")
        assert receiver.recv(64) == b"rewritten"
        datagram(pair.client, "10.0.2.2", 99, b"scribbled over")
        assert sluice.wait_until(lambda: sluice.drops().get("hook-malformed") == 1), sluice.drops()
        receiver.close()


REFUSED = {
    "a loop": (
        "{ u64 i, n = 0; for (i = 0; i < packet->length; i++) n ^= sluice_load(packet, i, 1);"
        " return n; }",
        "a loop",
    ),
    "out of bounds": ("{ return packet->data[packet->l4_offset]; }", "bytes 400 to 65935"),
    "a write where nothing is to be written": ("{ packet->protocol = 0; return 0; }", "written"),
    "a pointer that is stored": ("{ packet->memory[0] = (u64)packet; return 0; }", "(stored)"),
    "a pointer that is put into the packet": (
        "{ *(volatile u64 *)packet->data = (u64)packet; return 0; }",
        "(stored)",
    ),
    "a pointer that is returned": ("{ return (u64)packet; }", "(returned)"),
    "a pointer in a table": ("{ return sluice_store(packet, 0, 0, 0, (u64)packet); }", "helper"),
    "any address": ("{ return *(u8 *)0x1000; }", "is a number, not a pointer"),
    "an unknown helper": ("{ return ((u64 (*)(void *))99)(packet); }", "no helper 99"),
    "a symbol": ("{ extern u64 getpid(void); return getpid(); }", "refers to `getpid`"),
    "a variable": ("{ static volatile u64 n; return ++n; }", "refers to"),
    "a division by 0": ("{ return 1000 / packet->settings[0]; }", "divide by 0"),
    "stack that was not written": ("{ volatile u64 n[2]; return n[1]; }", "nothing has been written"),
}


def test_a_program_that_is_refused_is_told_why_and_changes_nothing(pair, tmp_path):
    with pair.sluice() as sluice:
        assert pair.client.reaches("10.0.2.2")
        generation = sluice.generation

        def refused(file, *told):
            load = ("hook", "load", "tried", "--program", file, "--event", "physical-in")
            answer = sluice.run(*load, check=False)
            assert answer.returncode == 3, answer.stderr
            missing = [words for words in (str(file), *told) if words not in answer.stderr]
            assert not missing, answer.stderr
            assert sluice.generation == generation

        with Stream(pair.client, pair.server, "10.0.2.2") as stream:
            for source, told in REFUSED.values():
                refused(compiled(source, tmp_path), "the sandbox refuses the program", told)
            bit = "{ return (u32)packet->memory[0] > 7 ? SLUICE_DROP : SLUICE_CONTINUE; }"
            refused(compiled(bit, tmp_path, cpu="v3"), "-mcpu=v2")
            two = "{ return 0; } u64 another(void) { return 1; }"
            refused(compiled(two, tmp_path), "code in its section `.text`")
            machine = compiled("{ return 0; }", tmp_path, target="x86_64")
            refused(machine, "for machine 62")
            text = tmp_path / "text.o"
            text.write_text("#!/bin/sh\n")
            refused(text, "is not an ELF file")
            large = compiled("{ return 0; }", tmp_path)
            with large.open("ab") as file:
                file.truncate(2 << 20)
            refused(large, "2097152 bytes")
            ways = "{ u64 n = 0; " + "".join(
                f"if (packet->data[{i}] > 9) n = n * 3 + sluice_load(packet, {i}, 2);"
                for i in range(30)
            )
            refused(compiled(ways + " return n; }", tmp_path), "too many ways")
            assert stream.wait_for(100)
        assert stream.lost == []


@pytest.mark.timeout(max(90, TURNS))
def test_programs_come_and_go_under_load(alternating, tmp_path):
    """Two programs in turn: nothing is lost or overtaken."""
    halves = alternating.halves
    usual = alternating.configuration("A")
    first, then = (compiled(name, tmp_path) for name in ("pass", "count"))
    hooks = (
        f"hooks: {{ one: {{ file: {first}, event: physical-in, order: first }} }}\n",
        f"hooks: {{ one: {{ file: {then}, event: forwarding }} }}\n",
        "",
    )
    with halves.control() as control, alternating.load(RATE) as load:
        for turn in range(TURNS):
            control.apply(usual + hooks[turn % len(hooks)])
        control.apply(usual)
    alternating.assert_whole(load)
    assert not [row for row in halves.ask("/v1/drops") if row["reason"].startswith("hook")]
