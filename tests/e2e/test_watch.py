"""`sluice watch` tells what happens while it happens."""

import json
import os
import signal
import subprocess

import pytest

RULES = """
filters:
  forward:
    rules:
      - { name: closed, protocol: udp, destination-port: 9, action: drop, log: true }
"""


class Watch:
    """`sluice --json watch`, running; its events so far."""

    def __init__(self, sluice, *options):
        self.sluice = sluice
        self.file = sluice.directory / "watched"
        self.errors = sluice.directory / "watched.errors"
        with open(self.file, "w") as output, open(self.errors, "w") as errors:
            command = sluice.command("--json", "watch", *options)
            self.process = sluice.namespace.start(*command, stdout=output, stderr=errors)

    @property
    def events(self):
        text = self.file.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def tells(self, event, patience=20.0, **fields):
        """Waits for an event with these fields, and returns the first."""

        def found():
            for seen in self.events:
                if seen["event"] == event and fields.items() <= seen.items():
                    return seen
            return None

        assert self.sluice.wait_until(found, patience), f"no {event} {fields} in {self.events}"
        return found()

    def messages(self):
        """The messages of the commits so far."""
        return [e["commit"].get("message") for e in self.events if e["event"] == "commit"]

    def begin(self):
        """Waits until the control process has the reader: a change of no account is told."""
        sluice = self.sluice

        def told():
            sluice.run("route", "add", "192.0.2.0/24", "blackhole")
            sluice.run("route", "del", "192.0.2.0/24")
            return sluice.wait_until(lambda: self.events, patience=1.0)

        assert sluice.wait_until(told, patience=20.0)
        return self


@pytest.fixture
def appliance(pair):
    with pair.sluice(RULES) as pair.running:
        yield pair


@pytest.fixture
def watch(appliance):
    watch = Watch(appliance.running, "--drops", "20")
    yield watch.begin()
    watch.process.terminate()
    watch.process.wait(timeout=10)


def test_commits_rollbacks_and_confirmations(appliance, watch):
    sluice = appliance.running
    first = sluice.generation
    sluice.run("route", "add", "10.9.0.0/16", "blackhole", "-m", "seen", "--confirm", "10m")
    assert sluice.wait_until(lambda: "seen" in watch.messages(), patience=20.0), watch.events
    commits = [event["commit"] for event in watch.events if event["event"] == "commit"]
    assert commits[-1]["generation"] == sluice.generation and commits[-1]["confirm"]
    sluice.run("confirm")
    assert watch.tells("confirm")["generation"] == sluice.generation
    sluice.run("rollback", first)
    assert watch.tells("rolled-back")["commit"]["to"] == first


def test_links_and_neighbours(appliance, watch):
    client = appliance.client
    assert client.reaches("10.0.2.2")
    watch.tells("neighbour", interface="wan", address="10.0.2.2", state="reachable")
    client.run("ip", "link", "set", "eth0", "down")
    watch.tells("link", port="lan", up=False)
    client.run("ip", "link", "set", "eth0", "up")
    watch.tells("link", port="lan", up=True)


def test_drops_above_a_rate_and_rules_that_log(appliance, watch):
    client = appliance.client
    flood = client.start(
        *("/usr/bin/python3", "-c"),
        "import socket, time\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "end = time.monotonic() + 20\n"
        "while time.monotonic() < end:\n"
        "    s.sendto(b'x', ('10.0.2.2', 9)); time.sleep(0.005)\n",
    )
    told = watch.tells("drops", reason="forward-filter", threshold=20)
    assert told["rate"] > 20
    logged = watch.tells("rule-log", rule="closed", destination="10.0.2.2")
    assert (logged["input"], logged["protocol"], logged["destination_port"]) == ("lan", 17, 9)
    flood.kill()
    flood.wait()


def test_it_outlives_both_processes(appliance, watch):
    sluice = appliance.running
    generation = sluice.generation
    os.kill(sluice.processes()["sluice-dataplane"], signal.SIGKILL)
    watch.tells("dataplane-lost")
    watch.tells("dataplane-attached", generation=generation)
    os.kill(sluice.processes()["sluice-control"], signal.SIGKILL)
    assert sluice.wait_until(lambda: "is back" in watch.errors.read_text(), patience=20.0)
    assert sluice.wait_until(sluice.committed, patience=20.0)
    sluice.run("route", "add", "10.9.0.0/16", "blackhole", "-m", "afterwards")
    assert sluice.wait_until(lambda: "afterwards" in watch.messages(), patience=20.0), watch.events
    assert watch.process.poll() is None


def test_an_agent_that_does_not_go_round(appliance, watch):
    sluice = appliance.running
    pid = sluice.processes()["sluice-dataplane"]
    os.kill(pid, signal.SIGSTOP)
    try:
        watch.tells("agent-stalled")
        assert sluice.wait_until(lambda: "agent" in sluice.run("show", "status").stdout, 20.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    watch.tells("agent-recovered")


def test_people_read_lines(appliance):
    sluice = appliance.running
    output = sluice.directory / "lines"
    with open(output, "w") as lines:
        process = sluice.namespace.start(*sluice.command("watch"), stdout=lines)

    def told():
        sluice.run("route", "add", "192.0.2.0/24", "blackhole", "-m", "a word")
        sluice.run("route", "del", "192.0.2.0/24")
        return "a word" in output.read_text()

    assert sluice.wait_until(told, patience=20.0)
    line = next(line for line in output.read_text().splitlines() if "a word" in line)
    assert "commit" in line and "+1 route" in line and "\x1b" not in line
    process.send_signal(signal.SIGINT)
    process.wait(timeout=10)


def test_a_reader_that_goes_away_ends_it(appliance):
    sluice = appliance.running
    command = appliance.router.command(*sluice.command("watch"))
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    watcher.stdout.close()

    def ended():
        sluice.run("route", "add", "192.0.2.0/24", "blackhole")
        sluice.run("route", "del", "192.0.2.0/24")
        return watcher.poll() is not None

    assert sluice.wait_until(ended, patience=20.0)
    assert watcher.returncode == 0
