"""`sluice capture` (F10): packets as they pass, in a file that tcpdump reads."""

import contextlib
import os
import signal
import subprocess
import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from lab import Stream
from lab.pcapng import File
from lab.stream import datagram

from test_checksums import with_partial_sum

FILTERED = """
filters:
  forward:
    rules:
      - { name: no-telnet, protocol: udp, destination-port: 23, action: drop }
"""

BLUE = """
routes:
  - { to: 10.0.2.0/24, lookup: { instance: blue } }
instances:
  blue:
    routes:
      - { to: 10.0.1.0/24, lookup: { instance: default } }
"""


@pytest.fixture
def appliance(pair):
    with pair.sluice(FILTERED) as pair.running:
        assert pair.client.reaches("10.0.2.2")
        yield pair


class Capture:
    """A `sluice capture` that runs."""

    def __init__(self, sluice, *options):
        self.sluice, self.file = sluice, sluice.directory / "captured.pcapng"
        self.process = subprocess.Popen(
            sluice.namespace.command(*sluice.command("--json", "capture", self.file, *options)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stderr.readline()
        assert "capturing" in line, line + self.process.stderr.read()

    def pid(self):
        """The command itself: `ip netns exec` becomes it."""
        return self.process.pid

    def end(self, patience=15):
        """Waits until it has ended by itself."""
        self.told, errors = self.process.communicate(timeout=patience)
        assert self.process.returncode == 0, errors
        return File(self.file.read_bytes())

    def interrupt(self):
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.end()


@contextlib.contextmanager
def capturing(sluice, *options):
    """What is captured while the `with` lasts; it is in `.packets` afterwards."""
    capture = Capture(sluice, *options)
    try:
        yield capture
        time.sleep(0.1)
        capture.read = capture.interrupt()
        capture.packets = capture.read.packets
    finally:
        capture.process.kill()


def taps(sluice):
    """The captures that are open."""
    return [hook["name"] for hook in sluice.show("hooks")["hooks"] if hook["origin"] == "capture"]


def test_f10_a_packet_is_captured_as_it_came_and_as_it_left(appliance):
    sluice = appliance.running
    with capturing(sluice, "--proto", "icmp") as capture:
        assert taps(sluice) == ["capture-1"]
        begun = time.time_ns()
        assert appliance.client.reaches("10.0.2.2", "-c", "1")
        ended = time.time_ns()
    assert taps(sluice) == []
    came, left, answered, returned = capture.packets[:4]
    assert [packet.interface for packet in capture.packets[:4]] == ["lan", "wan", "wan", "lan"]
    assert [packet.flags for packet in capture.packets[:4]] == [1, 2, 1, 2]
    assert came.comment == {"direction": "in", "instance": "default", "to": "default"}
    assert left.comment == {"direction": "out", "instance": "default"}
    one, other = Ether(came.data), Ether(left.data)
    assert (one.src, one.dst) == (appliance.client.mac("eth0"), appliance.router.mac("lan"))
    assert (other.src, other.dst) == (appliance.router.mac("wan"), appliance.server.mac("eth0"))
    assert (one[IP].ttl, other[IP].ttl) == (64, 63)
    assert one[ICMP].payload.original == other[ICMP].payload.original
    assert Ether(returned.data)[ICMP].type == 0 and Ether(answered.data)[IP].src == "10.0.2.2"
    times = [packet.time_ns for packet in capture.packets]
    assert times == sorted(times) and begun - 10**7 < times[0] < times[3] < ended + 10**7
    lines = sluice.namespace.run("tcpdump", "-n", "-e", "-r", capture.file).stdout.splitlines()
    assert len(lines) == len(capture.packets)
    assert "10.0.1.2 > 10.0.2.2: ICMP echo request" in lines[0], lines


def test_f10_arp_is_captured_and_what_the_router_itself_sends(appliance):
    with capturing(appliance.running, "--interface", "lan") as capture:
        appliance.client.run("ip", "neigh", "flush", "dev", "eth0")
        assert appliance.client.reaches("10.0.1.1", "-c", "1")
    frames = [(packet, Ether(packet.data)) for packet in capture.packets]
    arps = [(packet.comment["direction"], frame[ARP].op) for packet, frame in frames if ARP in frame]
    assert ("in", 1) in arps and ("out", 2) in arps
    own = [packet for packet, frame in frames if ICMP in frame and frame[ICMP].type == 0]
    assert own[0].comment == {"direction": "out", "instance": "default", "from": "default"}
    assert Ether(own[0].data).dst == appliance.client.mac("eth0")
    assert {packet.interface for packet in capture.packets} == {"lan"}


def test_f10_drops_are_captured_with_their_reasons_if_they_are_asked_for(appliance):
    sluice = appliance.running
    with capturing(sluice, "--proto", "udp") as quiet:
        datagram(appliance.client, "10.0.2.2", 23)
    assert [packet.comment["direction"] for packet in quiet.packets] == ["in"]
    with capturing(sluice, "--drops", "--proto", "udp") as asked:
        datagram(appliance.client, "10.0.2.2", 23)
    came, gone = asked.packets
    assert came.comment["direction"] == "in"
    assert gone.comment == {
        "direction": "dropped",
        "instance": "default",
        "reason": "forward-filter",
        "stage": "forward-filter",
    }
    assert gone.interface == "lan" and Ether(gone.data)[UDP].dport == 23
    with capturing(sluice, "--direction", "dropped", "--proto", "udp") as alone:
        datagram(appliance.client, "10.0.2.2", 23)
        datagram(appliance.client, "10.0.2.2", 24)
    assert [packet.comment["reason"] for packet in alone.packets] == ["forward-filter"]


def test_f10_count_snaplen_seconds_and_filters(appliance):
    sluice, client = appliance.running, appliance.client
    udp = ("--proto", "udp", "--direction", "in", "-i", "lan")
    capture = Capture(sluice, "--count", "3", "--snaplen", "40", *udp)
    with Stream(client, appliance.server, "10.0.2.2", rate=200):
        read = capture.end()
    assert [(len(packet.data), packet.length) for packet in read.packets] == [(40, 50)] * 3
    assert '"captured": 3' in capture.told and read.missed == 0
    assert taps(sluice) == []

    capture = Capture(sluice, "--seconds", "1", "--src", "10.0.2.0/24", "--port", "7")
    datagram(client, "10.0.2.2", 7)
    datagram(appliance.server, "10.0.1.2", 8)
    datagram(appliance.server, "10.0.1.2", 7)
    packets = capture.end().packets
    assert [Ether(packet.data)[IP].dst for packet in packets] == ["10.0.1.2"] * 2

    for options, told in [
        (("--instance", "red"), "there is no instance `red`"),
        (("--interface", "dmz"), "there is no interface or port `dmz`"),
    ]:
        refused = sluice.run("capture", sluice.directory / "none", *options, check=False)
        assert refused.returncode == 1 and told in refused.stderr, refused.stderr
    assert not (sluice.directory / "none").exists()


def test_f10_as_it_happens_into_tcpdump(appliance):
    """`sluice capture | tcpdump -r -`, and the end of the reader is the end of the capture."""
    sluice = appliance.running
    command = " ".join(map(str, sluice.command("capture", "--proto", "icmp")))
    reader = sluice.namespace.start(
        *("sh", "-c", f"{command} | tcpdump -n -l -c 2 -r -"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert sluice.wait_until(lambda: taps(sluice) != [])
    assert appliance.client.reaches("10.0.2.2", "-c", "1")
    assert "ICMP echo request" in reader.stdout.readline()
    assert appliance.client.reaches("10.0.2.2", "-c", "3")
    assert sluice.wait_until(lambda: taps(sluice) == [])


def test_f10_between_instances_it_is_local(pair):
    """Out of one instance by the interface of another: who it came from and where it goes."""
    with pair.sluice(BLUE, wan_options="instance: blue") as sluice:
        assert sluice.wait_until(lambda: pair.client.reaches("10.0.2.2"))
        with capturing(sluice, "--direction", "local") as capture:
            assert pair.client.reaches("10.0.2.2", "-c", "1")
    there = [packet for packet in capture.packets if packet.comment["from"] == "default"]
    assert there[0].comment == {
        "direction": "local",
        "instance": "default",
        "from": "default",
        "to": "blue",
    }
    assert there[0].interface == "sluice"
    assert Ether(there[0].data)[IP].dst == "10.0.2.2"


def test_i3_missing_checksums_are_put_into_the_copy(stations):
    """A port that trusts forwards a partial sum as it is; the copy has the right one."""
    header = IP(src="10.0.1.2", dst="10.0.2.2")
    segment = TCP(sport=4000, dport=5000) / Raw(b"left to the hardware")
    right = TCP(bytes(header / segment)[len(header) :]).chksum
    sluice = stations.sluice
    usual = sluice.file.read_text()
    sluice.apply(usual.replace("iface=lan\n", "iface=lan\n    checksum: trust\n"))
    try:
        with capturing(sluice, "--proto", "tcp", "--direction", "in") as capture:
            stations.lan.say(with_partial_sum(header / segment))
            sent = stations.wan.expect(lambda f: TCP in f)
    finally:
        sluice.apply(usual)
    assert Ether(capture.packets[0].data)[TCP].chksum == right
    assert sent[TCP].chksum != right, "it is not the copy that is right because the packet is"


@pytest.mark.parametrize("victim", ["reader", "sluice-control"])
def test_f10_nothing_is_left_of_a_capture_whose_reader_or_control_process_is_killed(
    appliance, victim
):
    sluice = appliance.running
    with Stream(appliance.client, appliance.server, "10.0.2.2") as stream:
        capture = Capture(sluice)
        assert stream.wait_for(200)
        assert taps(sluice) == ["capture-1"]
        if victim == "reader":
            os.kill(capture.pid(), signal.SIGKILL)
            capture.process.wait(timeout=5)
        else:
            os.kill(sluice.processes()[victim], signal.SIGKILL)
            _, errors = capture.process.communicate(timeout=10)
            assert capture.process.returncode == 4 and "the capture has no end" in errors
            assert sluice.wait_until(sluice.committed, 20)
        assert sluice.wait_until(lambda: taps(sluice) == [])
        assert stream.wait_for(200)
    assert stream.lost == [] and stream.in_order
    # The next one gets a whole file.
    with capturing(sluice, "--proto", "icmp") as capture:
        assert appliance.client.reaches("10.0.2.2", "-c", "1")
    assert len(capture.packets) >= 4


def test_f10_forwarding_waits_for_no_capture_and_the_missed_are_told(appliance):
    """The reader stands still: packets go on, and those that found no room are counted."""
    sluice = appliance.running
    capture = Capture(sluice, "--buffer", "1", "--host", "10.0.2.2")
    try:
        with Stream(appliance.client, appliance.server, "10.0.2.2", rate=500) as stream:
            assert stream.wait_for(100)
            os.kill(capture.pid(), signal.SIGSTOP)
            flood = ("ping", "-f", "-q", "-c", "2000", "-s", "1400", "10.0.2.2")
            assert " 0% packet loss" in appliance.client.run(*flood).stdout
            os.kill(capture.pid(), signal.SIGCONT)
            assert stream.wait_for(100)
        assert stream.lost == [] and stream.in_order
        time.sleep(0.1)
        read = capture.interrupt()
    finally:
        capture.process.kill()
    # Each is seen twice, and so is the answer to a ping.
    passed = 2 * stream.sent + 4 * 2000
    assert len(read.packets) + read.missed == passed, (len(read.packets), read.missed, passed)
    assert read.missed > 0
