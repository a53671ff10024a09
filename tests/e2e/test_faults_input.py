"""Faults 8 to 10: files that are wrong or absurd, disks that are full. By number; the table is in
`tests/README.md`."""

import os
import random
import subprocess
import time

import pytest

from lab import Alternating, Halves, pair_configuration
from lab.control import Refused
from lab.sluice import binaries

# Every byte is cut by `make soak`; here every so many.
STRIDE = int(os.environ.get("SLUICE_CUT_STRIDE", 3))
MUTATIONS = int(os.environ.get("SLUICE_MUTATIONS", 500))
SEED = int(os.environ.get("SLUICE_SEED", 1))

DAMAGE = ["", "\t", ":", "- ", "{", "]", "\x00", "é", "&a", "*a", "9" * 30]

RULES = """
routes:
  - { to: 10.9.0.0/16, via: [10.0.2.2, { address: 10.0.2.3, weight: 2 }] }
  - { to: "2001:db8::/32", reject: true }
neighbours: [{ interface: wan, address: 10.0.2.2, mac: "02:00:00:00:02:02" }]
instances:
  red: { routes: [{ to: 0.0.0.0/0, blackhole: true }] }
filters:
  forward:
    default: drop
    rules:
      - name: web
        protocol: tcp
        destination-port: [80, 443, "8000-8100"]
        tcp-flags: "syn,!ack"
        action: accept
      - { name: ping, icmp-type: echo-request, source: 10.0.1.0/24, action: reject }
"""


@pytest.fixture
def halves(lab):
    """The two processes over two wires."""
    router = lab.namespace()
    for port in ("lan", "wan"):
        lab.wire(router, port)
    with Halves(router, pair_configuration(RULES)) as halves:
        yield halves


@pytest.mark.timeout(max(600, MUTATIONS // 20))
def test_f08_truncated_and_mutated_files(halves):
    """Cut after every byte, and with random damage: refused with a place, or a file that means
    something; never a crash, never half a file."""
    whole, damage = pair_configuration(RULES), random.Random(SEED)
    assert len(whole) > 700
    spoilt = [whole[:length] for length in range(0, len(whole), STRIDE)]
    for _ in range(MUTATIONS):
        text = list(whole)
        for _ in range(damage.randint(1, 4)):
            place = damage.randrange(len(text))
            text[place] = damage.choice(DAMAGE)
        spoilt.append("".join(text))
    refused, before = 0, halves.generation()
    with halves.control() as control:
        state = control.get("/v1/config")
        for text in spoilt:
            try:
                control.apply(text, "?file=cut.yaml&dry_run=true")
            except Refused as error:
                refused += 1
                assert error.status in (400, 409), f"{error}\n{text}"
                assert "panicked" not in error.answer
                assert error.status != 400 or "cut.yaml" in error.answer, f"{error}\n{text}"
        assert control.get("/v1/config") == state
    assert refused > len(spoilt) // 2
    assert halves.generation() == before
    assert "panicked" not in halves.log


HOSTILE = {
    "laughs": (
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (n, n, b"*%c," % (n - 1) * 9) for n in b"bcdefghij")
    ),
    "deep": b"ports: " + b"[" * 200_000,
    "10 MB": b"ports:\n" + b"".join(b"  p%07d: {}\n" % n for n in range(700_000)),
    "a key of 10 MB": b"p" * 10_000_000 + b": 1\n",
    "tabs": b"ports:\n\tlan: {}\n",
    "duplicate keys": b"ports: {}\nports: {}\n",
    "wrong types": b"ports: 7\nroutes: { to: 1 }\nfilters: [[]]\n",
    "IPv4 in an IPv6 place": b'ports: { lan: { device: net_null0, addresses: ["10.0.0.1/64"] } }\n',
    "host bits": b"ports: {}\nroutes: [{ to: 10.0.0.1/8, blackhole: true }]\n",
    "merge bomb": b"a: &a {x: 1}\n" + b"".join(b"b%d: {<<: *a}\n" % n for n in range(50_000)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_f08_hostile_files_are_bounded(kind, tmp_path):
    """Refused within seconds and within a bound of memory."""
    file = tmp_path / "hostile.yaml"
    file.write_bytes(HOSTILE[kind])
    began = time.monotonic()
    # 2 GiB of address space: a program that wants more aborts.
    done = subprocess.run(
        ["prlimit", f"--as={2 << 30}", binaries() / "sluice", "check", file],
        capture_output=True, text=True, timeout=60,
    )
    took = time.monotonic() - began
    assert done.returncode not in (0, 101) and done.returncode > 0, done.stderr[-2000:]
    assert "hostile.yaml" in done.stderr and "panicked" not in done.stderr, done.stderr[-2000:]
    assert len(done.stderr) < 300_000, "an error is for people"
    assert took < 30, f"{took} s"


WAN = "mtu: 1500\n    addresses: [10.0.2"
ABSURD = {
    "a next hop that nobody has": (
        "routes: [{ to: 10.9.0.0/16, via: 203.0.113.1 }]", "203.0.113.1",
    ),
    "a next hop that is the router": ("routes: [{ to: 10.9.0.0/16, via: 10.0.2.1 }]", "10.0.2.1"),
    "a route to the router's own group": (
        "routes: [{ to: 224.0.0.0/8, via: 10.0.2.2 }]", "224.0.0.0/8",
    ),
    "two ways at once": (
        "routes: [{ to: 10.9.0.0/16, via: 10.0.2.2, blackhole: true }]", "blackhole",
    ),
    "a rule that can match nothing": (
        "filters: { forward: { rules: [{ protocol: icmp, source: '::/0', action: drop }] } }",
        "nothing",
    ),
    "one network on two ports": (
        "instances: {}\n", "10.0.1.9/24", ("10.0.2.1/24", "10.0.1.9/24"),
    ),
    "an instance that is not there": (
        "", "nosuch", (WAN, "instance: nosuch\n    addresses: [10.0.2"),
    ),
    "MTU 0": ("", "mtu", (WAN, "mtu: 0\n    addresses: [10.0.2")),
    "an MTU that IPv6 cannot have": (
        "", "1280", (WAN, "mtu: 600\n    addresses: [10.0.2"),
    ),
    "a VLAN over 4094": (
        "", "4095", (WAN, "vlans: { 4095: {} }\n    addresses: [10.0.2"),
    ),
    "one device twice": (
        "", "`lan` already", ("net_af_packet1,iface=wan", "net_af_packet1,iface=lan"),
    ),
    "a broadcast address of one's own": ("", "10.0.2.255", ("10.0.2.1/24", "10.0.2.255/24")),
}


@pytest.mark.parametrize("kind", ABSURD)
def test_f09_absurd_files_are_refused_without_a_dataplane(kind, tmp_path):
    """`sluice check` needs nothing that runs, and names what makes no sense."""
    more, told, *change = ABSURD[kind]
    text = pair_configuration(more + "\n")
    for old, new in change:
        assert old in text, text
        text = text.replace(old, new)
    file = tmp_path / "absurd.yaml"
    file.write_text(text)
    done = subprocess.run(
        [binaries() / "sluice", "check", file], capture_output=True, text=True, timeout=20
    )
    assert done.returncode not in (0, 101), f"{kind} is accepted: {done.stdout}"
    assert "absurd.yaml:" in done.stderr and told in done.stderr, done.stderr


def test_f09_65000_vlans_are_bounded(tmp_path):
    """Many more interfaces than there can be: an answer within seconds."""
    ports = "".join(
        f"  p{port}:\n    device: net_null{port}\n    vlans:\n"
        + "".join(f"      {vlan}: {{}}\n" for vlan in range(1, 4095))
        for port in range(16)
    )
    file = tmp_path / "vlans.yaml"
    file.write_text("ports:\n" + ports)
    began = time.monotonic()
    done = subprocess.run(
        [binaries() / "sluice", "check", file], capture_output=True, text=True, timeout=60
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]
    assert time.monotonic() - began < 30


# -- the disk ---------------------------------------------------------------------------------


@pytest.fixture
def small_disk(lab):
    """Three wires around the two processes, whose state is on a disk of 256 kB."""
    made = Alternating(lab)
    state = made.halves.directory / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", state], check=True)
    made.halves.options("sluice-control", "--state", state / "here")
    made.state = state
    try:
        with made.halves:
            yield made
    finally:
        subprocess.run(["umount", "-l", state], check=False)


def refused_for_the_disk(control, text):
    """A change is refused, and the error says what is full and what to do."""
    with pytest.raises(Refused) as refused:
        control.apply(text)
    assert refused.value.status == 507, refused.value
    return refused.value.answer


def test_f10_disk_full(small_disk):
    """What cannot be written is refused before anything changes; forwarding goes on, and as soon as
    there is room everything works again."""
    halves = small_disk.halves
    with halves.control() as control, small_disk.load(rate=500) as load:
        generation = control.apply(small_disk.configuration("B"))["generation"]
        filler = small_disk.state / "filler"
        with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))
        for _ in range(3):
            said = refused_for_the_disk(control, small_disk.configuration("A"))
            assert str(small_disk.state) in said, said
        assert small_disk.live(control) == "B" and halves.generation() == generation
        assert halves.ask("/v1/status")["persistence"]["error"]
        # Even a control process that starts now runs, and says so.
        halves.kill("sluice-control")
        halves.start("sluice-control")
        assert halves.wait_until_committed() == generation
        filler.unlink()
    with halves.control() as control:
        assert control.apply(small_disk.configuration("A"))["generation"] == generation + 1
        assert small_disk.live(control) == "A"
    assert not halves.ask("/v1/status")["persistence"].get("error")
    assert load.lost == [] and small_disk.halved() == 0


def test_f10_disk_read_only(small_disk):
    """The same of a disk that became read-only."""
    halves = small_disk.halves
    with halves.control() as control, small_disk.load(rate=500) as load:
        generation = control.apply(small_disk.configuration("B"))["generation"]
        # As that process sees the disk; files that it has open stay as they are.
        inside = ["nsenter", "-t", str(halves.pid("sluice-control")), "-m"]
        state = small_disk.state
        subprocess.run([*inside, "mount", "--bind", state, state], check=True)
        subprocess.run([*inside, "mount", "-o", "remount,bind,ro", state], check=True)
        refused_for_the_disk(control, small_disk.configuration("A"))
        assert small_disk.live(control) == "B" and halves.generation() == generation
        subprocess.run([*inside, "umount", state], check=True)
        assert control.apply(small_disk.configuration("A"))["generation"] == generation + 1
    assert load.lost == [] and small_disk.halved() == 0


def test_f10_a_torn_file_is_named_and_set_aside(lab):
    """A power cut left half a file: it is said which, and the last whole commit is used."""
    made = Alternating(lab)
    halves = made.halves
    with halves:
        with halves.control() as control:
            control.apply(made.configuration("B"))
            generation = control.apply(made.configuration("A"))["generation"]
        halves.kill("sluice-control", "sluice-dataplane")
        files = (halves.run / "state" / "commits").iterdir()
        newest = max(files, key=lambda path: path.name)
        newest.write_bytes(newest.read_bytes()[:-20])
        halves.start("sluice-dataplane")
        halves.start("sluice-control")
        after = halves.wait_until_committed()
        assert after >= generation - 1
        assert newest.name in halves.log, "the log names the file"
        with halves.control() as control:
            made.live(control)
            control.apply(made.configuration("B"))
            assert made.live(control) == "B"
