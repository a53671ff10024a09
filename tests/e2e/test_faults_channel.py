"""Faults 1 to 7: processes that die, stall or lie in the middle of a change. By number; the table
is in `tests/README.md`."""

import os
import pathlib
import random
import signal
import socket
import struct
import threading
import time

import pytest

from lab import Alternating
from lab.control import Control, Refused

KILLS = int(os.environ.get("SLUICE_KILLS", 200))
DATAPLANE_KILLS = int(os.environ.get("SLUICE_DATAPLANE_KILLS", 10))
ROUTES = int(os.environ.get("SLUICE_KILL_ROUTES", 3000))
SEED = int(os.environ.get("SLUICE_SEED", 1))


@pytest.fixture
def alternating(lab):
    """Three wires around the two processes, under policy A with many routes."""
    made = Alternating(lab, routes=ROUTES)
    with made.halves:
        yield made


def push(halves, text):
    """Starts to apply a file; whether it was done is nobody's to know."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(halves.run / "control.sock"))
    head = f"POST /v1/apply HTTP/1.1\r\nhost: sluice\r\ncontent-length: {len(text)}\r\n\r\n"
    connection.sendall(head.encode() + text.encode())
    return connection


def duration(halves, alternating, times=4):
    """How long a push takes, the longest of a few."""
    took = []
    with halves.control() as control:
        for turn in range(times):
            began = time.monotonic()
            control.apply(alternating.configuration("BA"[turn % 2]))
            took.append(time.monotonic() - began)
    return max(took)


@pytest.mark.timeout(max(180, KILLS))
def test_f01_control_killed_mid_update(alternating):
    """Killed at a random moment of a push of thousands of routes: the dataplane runs the old policy
    or the new one, whole, loses nothing, and the next control process goes on from there."""
    halves, moments = alternating.halves, random.Random(SEED)
    longest = duration(halves, alternating)
    came = {"A": 0, "B": 0}
    with alternating.load(rate=500) as load:
        generation, live = halves.generation(), "A"
        for _ in range(KILLS):
            wanted = "B" if live == "A" else "A"
            connection = push(halves, alternating.configuration(wanted))
            time.sleep(moments.uniform(0, longest * 1.1))
            halves.kill("sluice-control")
            connection.close()
            halves.start("sluice-control")
            after = halves.wait_until_committed()
            with halves.control() as control:
                now = alternating.live(control)
            # The number moves with the policy, and only with it.
            assert (after == generation) == (now == live), (generation, after, live, now)
            assert after >= generation
            came[now] += now != live
            generation, live = after, now
    assert load.lost == [], f"{len(load.lost)} of {load.sent} lost"
    assert load.doubled == 0 and load.in_order
    assert alternating.halved() == 0
    print(f"{sum(came.values())} of {KILLS} killed pushes had been committed")


@pytest.mark.timeout(max(180, DATAPLANE_KILLS * 10))
def test_f02_dataplane_killed_mid_update(alternating):
    """The other side: the next dataplane gets one whole policy, that of before or that of after."""
    halves, moments = alternating.halves, random.Random(SEED)
    longest = duration(halves, alternating)
    generation, live = halves.generation(), "A"
    for _ in range(DATAPLANE_KILLS):
        wanted = "B" if live == "A" else "A"
        connection = push(halves, alternating.configuration(wanted))
        time.sleep(moments.uniform(0, longest * 1.1))
        halves.kill("sluice-dataplane")
        halves.start("sluice-dataplane")
        connection.close()
        after = halves.wait_until_committed()
        with halves.control() as control:
            now = alternating.live(control)
            routes = control.get("/v1/routes")
        assert len(routes) == ROUTES + 4, "every route once"
        assert (after == generation) == (now == live), (generation, after, live, now)
        generation, live = after, now
        with alternating.load(rate=500) as load:
            assert load.wait_for(20)
        assert load.lost == [] and alternating.halved() == 0


def test_f03_both_killed_and_stale_files_left(alternating):
    """Sockets, locks and records of the dead are in the way of nobody."""
    halves = alternating.halves
    for _ in range(3):
        with halves.control() as control:
            control.apply(alternating.configuration("B"))
        before = halves.generation()
        halves.kill("sluice-control", "sluice-dataplane")
        assert (halves.run / "dataplane.sock").exists(), "this is about what is left behind"
        halves.start("sluice-dataplane")
        halves.start("sluice-control")
        assert halves.wait_until_committed() == before
        with halves.control() as control:
            assert alternating.live(control) == "B"
            control.apply(alternating.configuration("A"))
        with alternating.load(rate=500) as load:
            assert load.wait_for(50)
        assert load.lost == []


def test_f04_dataplane_stopped_with_the_ring_full(alternating):
    """A dataplane that does not answer is reported within a bound; nobody spins meanwhile, and
    nothing is lost of what is desired."""
    halves = alternating.halves
    text = alternating.configuration("B")
    with halves.frozen("sluice-dataplane"):
        began, before = time.monotonic(), halves.processor_time("sluice-control")
        with Control(halves.run, patience=60).closing() as control, pytest.raises(Refused) as said:
            control.apply(text)
        waited = time.monotonic() - began
        assert said.value.status == 503 and "dataplane" in said.value.answer, said.value
        assert waited < 30
        # Asking is answered, too.
        status = halves.ask("/v1/status")
        assert status["progress"]["state"] == "waiting", status
        time.sleep(1)
        used = halves.processor_time("sluice-control") - before
        assert used < 1 + 0.2 * (time.monotonic() - began), f"{used} s of processor time"
    halves.wait_until_committed()
    with halves.control() as control:
        control.apply(text)
        assert alternating.live(control) == "B"
    with alternating.load(rate=500) as load:
        assert load.wait_for(50)
    assert load.lost == [] and alternating.halved() == 0


def test_f05_a_slow_reader(alternating):
    """A dataplane that runs half of the time: back-pressure, the last state wins, memory does not
    grow."""
    halves, stop = alternating.halves, threading.Event()
    pid = halves.pid("sluice-dataplane")

    def hinder():
        while not stop.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.05)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.05)

    texts = [alternating.configuration(which) for which in "BA"]
    with halves.control() as control:
        for text in texts * 2:
            control.apply(text)
        before = halves.resident("sluice-control")
        hindrance = threading.Thread(target=hinder)
        hindrance.start()
        try:
            for turn in range(20):
                applied = control.apply(texts[turn % 2])
                assert applied["generation"] == halves.generation()
        finally:
            stop.set()
            hindrance.join()
        assert alternating.live(control) == "A"
        grown = halves.resident("sluice-control") - before
        assert grown < 64 * 1024, f"{grown} kB more after 20 pushes"


def test_f06_garbage_in_the_rings(alternating):
    """Somebody writes into the shared memory: the session ends with a name, the policy stays, and
    the next session brings everything in order."""
    halves, choices = alternating.halves, random.Random(SEED)
    generation = halves.generation()
    with alternating.load(rate=500) as load:
        for turn in range(40):
            memory = session_memory(halves.pid("sluice-dataplane"))
            assert memory is not None, "the dataplane has no session"
            with open(memory, "r+b", buffering=0) as ring:
                size = os.fstat(ring.fileno()).st_size
                # The indices, the start of either ring, and anywhere.
                places = [128, 256, 384, 512, 4096, 4096 + (1 << 20), choices.randrange(4096, size)]
                ring.seek(places[turn % len(places)])
                ring.write(choices.randbytes(choices.choice((1, 8, 64, 4096))))
            # Whoever speaks next finds out.
            with halves.control() as control:
                try:
                    control.get("/v1/workers")
                except Refused as refused:
                    assert refused.status == 503, refused
            assert halves.running("sluice-dataplane") and halves.running("sluice-control")
            assert halves.wait_until_committed() == generation
            with halves.control() as control:
                assert alternating.live(control) == "A"
    assert load.lost == [] and alternating.halved() == 0
    assert "panicked" not in halves.log


def session_memory(pid):
    """The memory of the rings that a dataplane has with its control process, as a file."""
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "/memfd:sluice-channel" in line:
            return f"/proc/{pid}/map_files/{line.split()[0]}"
    return None


def test_f07_a_control_process_of_another_release(alternating):
    """It is told what it is, what the dataplane is, and refused; nobody else notices."""
    halves = alternating.halves
    generation = halves.generation()
    halves.kill("sluice-control")
    for layout, release in ((1, b"0.0.1"), (99, b"9.9.9"), (0, b"")):
        answer = greet(halves, b"sluice\r\n" + struct.pack("<II", layout, 1) + release)
        assert answer.startswith(b"sluice\r\n"), answer
        (kind,) = struct.unpack_from("<I", answer, 12)
        assert kind in (3, 4), "refused, as another release or in words"
    for nonsense in (b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(1024), b"sluice\r\n"):
        greet(halves, nonsense)
    assert "release" in halves.log
    halves.start("sluice-control")
    assert halves.wait_until_committed() == generation
    with alternating.load(rate=500) as load:
        assert load.wait_for(50)
    assert load.lost == []


def greet(halves, words):
    """Says something to the dataplane's socket; its answer, empty when it hangs up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(10)
        peer.connect(str(halves.run / "dataplane.sock"))
        try:
            peer.send(words)
            return peer.recv(1024)
        except (ConnectionResetError, BrokenPipeError):
            return b""
