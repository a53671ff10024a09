"""One set of programs for every x86-64-v2, which uses what newer processors have."""

import platform
import subprocess

import pytest

from lab.sluice import binaries

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="about x86-64")

PROGRAMS = ("sluice", "sluice-control", "sluice-dataplane")


def on(processor, program, *arguments):
    """Runs a program on a processor of that model."""
    return subprocess.run(
        ["qemu-x86_64", "-cpu", processor, binaries() / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_processor_of_2008_runs_it(program):
    done = on("Nehalem", program, "--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(program)


@pytest.mark.parametrize("program", ["sluice", "sluice-control"])
def test_an_older_one_is_told_what_it_lacks(program):
    """DPDK's libraries end the dataplane on such a machine before it can say a word."""
    done = on("core2duo", program, "--version")
    assert done.returncode == 1, done.stderr
    assert "SSE4.2, POPCNT" in done.stderr and "x86-64-v2" in done.stderr


@pytest.mark.parametrize("level", ["x86-64-v2", "x86-64-v3"])
def test_each_level_forwards(pair, monkeypatch, level):
    monkeypatch.setenv("SLUICE_LEVEL", level)
    with pair.sluice("filters: { forward: { stateful: true } }") as sluice:
        ours = next(line for line in sluice.log.splitlines() if "dataplane is up" in line)
        used = ours.rpartition("instructions=")[2]
        assert used == level or "avx2" not in open("/proc/cpuinfo").read()
        for address in ("10.0.2.2", "fd00:2::2"):
            assert pair.client.reaches(address)
