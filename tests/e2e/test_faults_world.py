"""Faults 11 and 17 to 26: what the machine around it does. By number; the table is in
`tests/README.md`."""

import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import lab as laboratory
from lab import Alternating, Load, Sluice, threads
from lab import alternating as alternating_module
from lab.load import slowness
from lab.control import Refused

FLAPS = int(os.environ.get("SLUICE_FLAPS", 30))
STOPPED = float(os.environ.get("SLUICE_STOPPED", 5))
DAY = 86_400


@pytest.fixture
def alternating(lab):
    """Three wires around the two processes, under policy A."""
    made = Alternating(lab)
    with made.halves:
        yield made


def until(true, patience=10.0):
    """Polls until `true()`; says whether it came true in time."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def link(halves, port):
    """Whether a port has link; `None` when it does not run."""
    row = next(row for row in halves.ask("/v1/ports") if row["name"] == port)
    return None if row["error"] else row["link"]


def forwards(alternating):
    """Whether a stream comes through without loss."""
    with alternating.load(rate=500) as load:
        load.wait_for(50)
    return load.lost == []


def test_f11_link_flaps(alternating):
    """A link that comes and goes under traffic: known each time, and nothing is left of it."""
    halves, far = alternating.halves, alternating.wires["thin"].namespace
    with alternating.load(rate=500) as load:
        for _ in range(FLAPS):
            far.run("ip", "link", "set", "eth0", "down")
            assert until(lambda: link(halves, "thin") is False), "down and not known"
            far.run("ip", "link", "set", "eth0", "up")
            assert until(lambda: link(halves, "thin") is True), "up and not known"
        with halves.control() as control:
            # Faster than anybody looks.
            for _ in range(FLAPS):
                far.run("sh", "-c", "ip link set eth0 down; ip link set eth0 up")
            assert until(lambda: link(halves, "thin") is True)
            assert alternating.live(control) == "A"
    assert load.lost == [], "the other ports have no part in it"


def test_f11_explain_follows_the_link(alternating):
    """What has no link is withdrawn, and explain says it as the wire does it."""
    halves, far = alternating.halves, alternating.wires["wan"].namespace
    question = {"input": "lan", "src": "10.0.1.2", "dst": "192.0.2.1"}
    answer = {"input": "wan", "src": "192.0.2.1", "dst": "10.0.1.2"}
    with halves.control() as control:
        assert control.post("/v1/explain", question)["verdict"] == "accept"
        assert control.post("/v1/explain", answer)["verdict"] == "accept"
        far.run("ip", "link", "set", "eth0", "down")
        assert until(lambda: link(halves, "wan") is False)
        assert until(lambda: control.post("/v1/explain", question)["verdict"] == "reject")
        said = control.post("/v1/explain", question)
        assert said["reason"] == "no-route" and "wan" in said["steps"][-1]["text"], said
        said = control.post("/v1/explain", answer)
        assert (said["verdict"], said["reason"]) == ("drop", "ingress-down"), said
        assert "wan is down" in said["steps"][-1]["text"], said
        before = {row["reason"]: row["packets"] for row in control.get("/v1/drops?all=true")}
        frame = alternating.load().frame
        for _ in range(10):
            alternating.wires["lan"].send(frame)

        def dropped():
            now = {row["reason"]: row["packets"] for row in control.get("/v1/drops?all=true")}
            return {reason: n - before[reason] for reason, n in now.items() if n > before[reason]}

        assert until(lambda: sum(dropped().values()) == 10)
        assert dropped() == {"no-route": 10}
        far.run("ip", "link", "set", "eth0", "up")
        assert until(lambda: control.post("/v1/explain", question)["verdict"] == "accept")
        assert control.post("/v1/explain", answer)["verdict"] == "accept"


def test_f11_an_interface_deleted_and_made_again(lab):
    """Its port closes in order, its routes go, the rest forwards on; made again it is taken again,
    by itself."""
    made = Alternating(lab)
    with made.halves as halves, made.load(rate=500) as load:
        generation = halves.generation()
        for _ in range(3):
            made.wires["thin"].namespace.run("ip", "link", "del", "eth0")
            assert until(lambda: link(halves, "thin") is None), "gone and not known"
            row = next(row for row in halves.ask("/v1/ports") if row["name"] == "thin")
            assert "thin" in row["error"], row
            # Later commits do not fail for it.
            with halves.control() as control:
                control.post("/v1/routes", {"to": "198.51.100.0/24", "blackhole": True})
                control.request("DELETE", "/v1/routes?to=198.51.100.0/24")
            lab.cable(made.wires["thin"].namespace, "eth0", made.router, "thin")
            assert until(lambda: link(halves, "thin") is True), "back and not taken"
        assert halves.generation() == generation + 6
    assert load.lost == [], "the other ports have no part in it"


# -- time -------------------------------------------------------------------------------------


@pytest.fixture
def clock(tmp_path):
    """A wall clock that can be set, for programs that have `clock.environment`."""
    library, file = tmp_path / "clock.so", tmp_path / "clock"
    source = pathlib.Path(laboratory.__file__).parent / "clock.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source], check=True)

    class Clock:
        environment = {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(file)}

        def step(self, seconds):
            new = file.with_suffix(".new")
            new.write_text(str(seconds))
            new.rename(file)

    made = Clock()
    made.step(0)
    return made


def test_f17_the_wall_clock_jumps(lab, clock):
    """A day forward and two back: neighbours, commits and forwarding do not notice."""
    made = Alternating(lab)
    halves = made.halves
    for program in ("sluice-dataplane", "sluice-control"):
        halves.environment(program, **clock.environment)
    with halves, made.load(rate=500) as load:
        neighbours = halves.ask("/v1/neighbours")
        generation = halves.generation()
        with halves.control() as control:
            for turn, step in enumerate((DAY, -DAY, 30 * DAY, 0)):
                clock.step(step)
                assert load.wait_for(100)
                generation += 1
                assert control.apply(made.configuration("BA"[turn % 2]))["generation"] == generation
            commits = control.get("/v1/commits")
            numbers = [commit["generation"] for commit in commits]
            assert numbers == sorted(numbers, reverse=True), "in the order of their numbers"
            halves.kill("sluice-control")
            halves.start("sluice-control")
            assert halves.wait_until_committed() == generation
        assert len(halves.ask("/v1/neighbours")) == len(neighbours)
        assert made.halved() == 0
    assert load.lost == []


def test_f17_a_confirmation_does_not_depend_on_the_wall_clock(lab, clock):
    """Neither early nor late: the seconds that were given are seconds that passed."""
    made = Alternating(lab)
    halves = made.halves
    halves.environment("sluice-control", **clock.environment)
    with halves, halves.control() as control:
        before = halves.generation()
        applied = control.apply(made.configuration("B"), "?confirm=4")
        began = time.monotonic()
        clock.step(DAY)
        time.sleep(1)
        assert halves.generation() == applied["generation"], "a day forward is not four seconds"
        clock.step(-DAY)
        assert until(lambda: made.live(control) == "A", patience=15), "a day back is no delay"
        assert time.monotonic() - began > 2.5
        assert halves.generation() > applied["generation"] > before


@pytest.mark.alone
@pytest.mark.timeout(max(120, STOPPED * 3))
def test_f18_stopped_for_a_while(alternating):
    """A dataplane that did not run, as of a suspended machine: it goes on, without catching up on
    the past."""
    halves = alternating.halves
    assert forwards(alternating)
    with halves.frozen("sluice-dataplane"):
        time.sleep(STOPPED)
    began, before = time.monotonic(), halves.processor_time("sluice-dataplane")
    with alternating.load(rate=500) as load:
        assert load.wait_for(100)
    assert load.lost == []
    took = time.monotonic() - began
    used = halves.processor_time("sluice-dataplane") - before
    assert used < took + 0.5, f"{used} s of processor time in {took} s"
    halves.wait_until_committed()
    with halves.control() as control:
        control.apply(alternating.configuration("B"))
        assert alternating.live(control) == "B"


# -- workers ----------------------------------------------------------------------------------

two_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="needs a core for each of two workers"
)


@pytest.mark.alone
@two_cores
def test_f19_a_stalled_worker(lab):
    """One worker stands still: it is said within a second, the other forwards, a commit says whom
    it waits for; and when it goes on, all is well."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    made = Alternating(lab, cores=cores)
    with made.halves as halves:
        workers = threads.named(halves.pid("sluice-dataplane"), "worker")
        assert len(workers) == 2, workers
        rows = halves.ask("/v1/workers")
        of = {row["worker"]: {queue["port"] for queue in row["queues"]} for row in rows}
        # The one that has nothing to do with the stream's ingress.
        idle = next(number for number, ports in of.items() if "lan" not in ports)
        victim = workers[idle]
        # It has work, or it would only be asleep.
        with made.load(rate=5000, source=min(of[idle])), threads.stalled(victim):
            began = time.monotonic()
            assert until(lambda: stalled(halves) == {idle}), "stalled and not said"
            assert time.monotonic() - began < 1.0 * slowness()
            assert "stalled" in halves.log
            with halves.control() as control:
                applied = control.apply(made.configuration("B"))
                # If it stopped in its sleep it adopts before its first packet.
                assert applied["waiting"] in ([], [idle]), applied
        assert until(lambda: not stalled(halves))
        assert until(lambda: halves.generation() == applied["generation"])
        assert forwards(made) and made.halved() == 0


def stalled(halves):
    """The workers that stand still."""
    return {row["worker"] for row in halves.ask("/v1/workers") if row.get("stalled_ms")}


@pytest.mark.alone
def test_f20_another_program_on_the_same_core(alternating):
    """Loss is allowed, a deadlock is not; afterwards it forwards as before."""
    core = laboratory.worker_core()
    hogs = [
        subprocess.Popen(["taskset", "-c", str(core), "sh", "-c", "while :; do :; done"])
        for _ in range(2)
    ]
    try:
        with alternating.load(rate=500) as load:
            assert load.wait_for(200, patience=30)
            with alternating.halves.control() as control:
                control.apply(alternating.configuration("B"))
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert alternating.halved() == 0 and load.doubled == 0
    assert forwards(alternating)


@pytest.mark.alone
def test_f21_a_worker_panics(lab, monkeypatch):
    """The process ends at once and leaves a report, its supervisor starts it again, and a packet
    that does it twice is named."""
    monkeypatch.setenv("SLUICE_FAULT", "panic-on-udp-port=6666")
    router = lab.namespace()
    wires = {
        port: lab.wire(router, port, mac=f"02:00:00:00:0{place}:02")
        for place, port in enumerate(("lan", "wan", "thin"), 1)
    }
    stream = Load(wires["lan"], {"wan": wires["wan"]}, alternating_module.DESTINATION, rate=500)
    poison = bytearray(stream.frame)
    poison[36:38] = (6666).to_bytes(2, "big")
    sluice = Sluice(router, alternating_module.configuration("A"))
    with sluice:
        generation = sluice.generation
        with stream:
            for turn in (1, 2):
                victim = sluice.processes()["sluice-dataplane"]
                assert stream.wait_for(50)
                wires["lan"].send(poison)
                assert sluice.wait_until(
                    lambda: sluice.processes().get("sluice-dataplane") not in (None, victim),
                    patience=20,
                ), "it did not panic, or nobody started it again"
                assert stream.wait_for(200), "no traffic after the restart"
                assert sluice.wait_until(sluice.committed) and sluice.generation == generation
                reports = list((sluice.directory / "run" / "crash").glob("*.json"))
                assert len(reports) == turn, reports
        print(f"silent for {stream.gap * 1000:.0f} ms")
        # A second, and what writing the report takes.
        assert stream.gap < 2.0 * slowness(), f"{stream.gap} s without traffic"
        dumps = list((sluice.directory / "run" / "crash").glob("*.pcap"))
        assert any(bytes(poison) in dump.read_bytes() for dump in dumps), "the packets in hand"
        assert "panicked" in sluice.log and "worker-0" in sluice.log
        assert "poison" in sluice.log, "the packet that was there both times is named"


# -- processes --------------------------------------------------------------------------------


def test_f22_storms_of_signals(pair):
    """Signals that mean nothing here change nothing; SIGTERM ends everything within ten seconds."""
    sluice = pair.sluice()
    with sluice:
        assert pair.client.reaches("10.0.2.2")
        ignored = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGPIPE, signal.SIGWINCH)
        processes = sluice.processes()
        # What a program does not handle would end it: a storm may only hold what it handles.
        handled = {pid: [s for s in ignored if survives(pid, s)] for pid in processes.values()}
        for _ in range(200):
            for pid, signals in handled.items():
                for number in signals:
                    os.kill(pid, number)
        assert sluice.processes() == processes
        assert pair.client.reaches("10.0.2.2")
        assert sluice.wait_until(sluice.committed)
        # Several at once are no more than one.
        for _ in range(5):
            os.kill(processes["sluice"], signal.SIGTERM)
            os.kill(processes["sluice"], signal.SIGINT)
        sluice.down()


def survives(pid, number):
    """Whether a process catches or ignores a signal."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    masks = [int(status.partition(f"{name}:")[2].split()[0], 16) for name in ("SigIgn", "SigCgt")]
    return any(mask >> (number - 1) & 1 for mask in masks)


def test_f23_a_second_of_either_process_is_refused(alternating):
    """By name, with the process that is there already; the first goes on."""
    halves = alternating.halves
    with alternating.load(rate=500) as load:
        for program in ("sluice-dataplane", "sluice-control"):
            owner = halves.pid(program)
            second = halves.namespace.run(
                laboratory.sluice.binaries() / program, "--dir", halves.run, check=False
            )
            assert second.returncode not in (0, 101), program
            assert str(owner) in second.stderr + second.stdout, second.stderr + second.stdout
        # Two that start at the same moment: one of them is the one.
        halves.kill("sluice-control")
        command = halves.namespace.command(
            laboratory.sluice.binaries() / "sluice-control", "--dir", halves.run
        )
        racers = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(4)
        ]
        try:
            assert until(lambda: sum(racer.poll() is None for racer in racers) == 1)
            halves_generation = until(lambda: halves.generation() is not None)
            assert halves_generation
        finally:
            for racer in racers:
                racer.kill()
                racer.wait()
        halves.start("sluice-control")
        halves.wait_until_committed()
    assert load.lost == [] and alternating.halved() == 0


def test_f23_requests_of_many_clients_have_one_order(alternating):
    """Changes that are asked for at the same time are commits one after the other; none is lost."""
    halves = alternating.halves
    before = halves.generation()

    def add(number):
        with halves.control() as control:
            try:
                body = {"to": f"198.51.{number}.0/24", "blackhole": True}
                return control.post("/v1/routes", body)["generation"]
            except Refused as refused:
                return refused

    with concurrent.futures.ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(add, range(64)))
    done = [answer for answer in answers if isinstance(answer, int)]
    assert all(answer.status == 503 for answer in answers if not isinstance(answer, int)), answers
    assert sorted(done) == list(range(before + 1, before + 1 + len(done)))
    assert halves.generation() == before + len(done)


def test_f26_state_of_another_release(lab):
    """Files of a format that this release does not know are named, kept, and in nobody's way."""
    made = Alternating(lab)
    with made.halves as halves:
        with halves.control() as control:
            control.apply(made.configuration("B"))
        halves.kill("sluice-control")
        for file in (halves.run / "state" / "commits").iterdir():
            head, _, rest = file.read_bytes().partition(b"\n")
            head, formats = re.subn(rb'"format":\d+', b'"format":99', head)
            assert formats == 1, head
            file.write_bytes(head + b"\n" + rest)
        with made.load(rate=500) as load:
            halves.start("sluice-control")
            halves.wait_until_committed()
            with halves.control() as control:
                assert made.live(control) == "B", "what the dataplane runs is adopted"
                control.apply(made.configuration("A"))
                assert made.live(control) == "A"
        assert load.lost == [] and made.halved() == 0
        assert "format 99" in halves.log and "commits/" in halves.log
