"""Fixtures of the end-to-end tests, and what is checked after each of them.

Two tests may run at a time (`make e2e` says so to pytest-xdist): each has namespaces, directories and a
worker's core of its own. One that is marked `alone` measures time or processors, or takes both cores:
while it runs nothing else does.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import sys

import pytest

from lab import Alternating, Lab, Pair, Sluice, Stations
from lab.sluice import binaries


def pytest_configure(config):
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests make network namespaces: run them as root", returncode=1)
    missing = [p for p in ("ip", "ping", "iperf3", "curl", "tcpdump") if not shutil.which(p)]
    if missing:
        pytest.exit(f"missing programs: {', '.join(missing)} (run: make deps)", returncode=1)
    for program in ("sluice", "sluice-control", "sluice-dataplane"):
        if not (binaries() / program).exists():
            pytest.exit(f"{binaries() / program} is not built (run: make build)", returncode=1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that the labs clean up
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also for what is run in the background


GATE, MACHINE = pathlib.Path(__file__), pathlib.Path(__file__).parents[1] / "pytest.ini"


@contextlib.contextmanager
def locked(file, how):
    """Holds a lock of a file for as long as the `with` lasts."""
    with open(file) as opened:
        fcntl.flock(opened, how)
        yield


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """A test that is to be alone has the machine to itself; the others share it.

    Who waits for the machine stands in the gate, so that nothing overtakes it for ever. The wait is
    no part of the test's time."""
    alone = item.get_closest_marker("alone") is not None
    with contextlib.ExitStack() as held:
        with locked(GATE, fcntl.LOCK_EX):
            held.enter_context(locked(MACHINE, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        yield


@pytest.fixture
def lab():
    """An empty laboratory."""
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def stations():
    """Three stations around a running Sluice, shared by the tests of one file."""
    with Lab() as lab, Stations(lab) as stations:
        yield stations


@pytest.fixture(autouse=True)
def quiet_wires(request):
    """Each test starts with nothing left on the wires of the one before."""
    if "stations" in request.fixturenames:
        request.getfixturevalue("stations").drain()


@pytest.fixture
def pair(lab):
    """`client — router — server`, Sluice not yet started."""
    return Pair(lab)


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """On failure, shows what a Sluice that several tests share printed."""
    report = (yield).get_result()
    if report.failed:
        for sluice in Sluice.running:
            report.sections.append(("what sluice up printed", sluice.log[-6000:]))


@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item):
    """After the body of a test that shares its Sluice: every packet is accounted for."""
    for sluice in Sluice.running:
        sluice.accounts_balance()


@pytest.fixture
def alternating(lab):
    """Three wires around the two processes, under policy A."""
    made = Alternating(lab)
    with made.halves:
        yield made
