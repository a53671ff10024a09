"""Fixtures of the end-to-end tests, and what is checked after each of them."""

import os
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
