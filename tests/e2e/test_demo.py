"""`make demo` tells the truth and cleans up after itself."""

import os
import pathlib
import signal
import subprocess
import time

import pytest

from lab.sluice import binaries

DEMO = pathlib.Path(__file__).resolve().parents[1] / "demo.sh"


def start():
    return subprocess.Popen(
        ["bash", DEMO],
        env={**os.environ, "SLUICE_BIN": str(binaries())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def leftovers(demo):
    """Namespaces and processes of a demo that has ended."""
    namespaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    processes = subprocess.run(
        ["ps", "-o", "stat=,args=", "-s", str(demo.pid)], capture_output=True, text=True
    ).stdout
    return [line for line in namespaces.splitlines() if f"-{demo.pid}-" in line] + [
        line for line in processes.splitlines() if not line.startswith("Z")  # those have ended
    ]


def test_the_demo_runs_in_under_a_minute():
    demo = start()
    story, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, story
    assert "no-http" in story and "\x1b" not in story, story
    assert leftovers(demo) == []


@pytest.mark.parametrize("after", [0.5, 4.0])
def test_ctrl_c_cleans_up(after):
    demo = start()
    time.sleep(after)
    os.killpg(demo.pid, signal.SIGINT)  # what the terminal does
    story, _ = demo.communicate(timeout=15)
    assert demo.returncode == 130, story
    assert leftovers(demo) == []
