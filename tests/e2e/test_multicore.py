"""Several workers: queues and ports shared out over cores, flows kept together."""

import ipaddress
import os
import pathlib

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import PcapReader, wrpcap

from lab import Pair, Sluice, Stream, datagram, threads

CORES = sorted(os.sched_getaffinity(0))[:2]
needs_two_cores = pytest.mark.skipif(len(CORES) < 2, reason="this machine has a single core")
pytestmark = needs_two_cores
APART = {"cores": CORES, "lan_options": "workers: [0]", "wan_options": "workers: [1]"}


def owner(one, other):
    """The worker, of two, that packets between two IPv4 addresses belong to."""
    both = int(ipaddress.ip_address(one)) ^ int(ipaddress.ip_address(other))
    fold = both >> 16 ^ both & 0xFFFF
    # The lowest bit of the hash: for each bit that is set, that of the key shifted so far.
    return sum(fold >> place & 1 and 0x6D5A >> (place + 1) % 16 & 1 for place in range(16)) % 2


def addresses_of(worker, count):
    """Addresses for the server, with which the client's flows belong to a worker."""
    hosts = (f"10.0.2.{number}" for number in range(10, 250))
    return [host for host in hosts if owner("10.0.1.2", host) == worker][:count]


def allowed(pid):
    """The cores that each thread of a process may use, by the thread's name."""
    cores = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        fields = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        cores.setdefault(fields["Name"].strip(), set()).add(fields["Cpus_allowed_list"].strip())
    return cores


def test_a_workers_core_is_its_own(pair):
    """No other thread of ours runs there: not the agent's, not DPDK's, not the control process's."""
    others = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)) if core != CORES[1])
    with pair.sluice(cores=CORES[1:]) as sluice:
        assert pair.client.reaches("10.0.2.2")
        before = sluice.processes()
        threads = allowed(before["sluice-dataplane"])
        assert threads.pop("worker-0") == {str(CORES[1])}
        threads.update(allowed(before["sluice-control"]), **allowed(before["sluice"]))
        assert {spread(cores) for each in threads.values() for cores in each} == {spread(others)}
        # One that is started again is not bound to what this left over.
        os.kill(before["sluice-dataplane"], 9)
        assert sluice.wait_until(lambda: pair.client.reaches("10.0.2.2"))
        assert allowed(sluice.processes()["sluice-dataplane"])["worker-0"] == {str(CORES[1])}


def spread(cores):
    """`0-2,4` as the numbers in it."""
    ends = [part.split("-") for part in cores.split(",")]
    return frozenset(core for end in ends for core in range(int(end[0]), int(end[-1]) + 1))


@pytest.mark.alone
def test_two_ports_on_different_workers(pair):
    pair.server.iperf_server()
    with pair.sluice(cores=CORES, lan_options="workers: [0]", wan_options="workers: [1]") as sluice:
        assert pair.client.ping("10.0.2.2", count=20).received == 20
        assert pair.client.ping("fd00:2::2", count=20).received == 20
        assert pair.client.iperf("10.0.2.2", seconds=1) > 20e6
        assert pair.client.iperf("10.0.2.2", "-R", seconds=1) > 20e6
        assert all(worker["rx"] > 0 for worker in sluice.show("stats")["workers"])
        queues = {row["worker"]: row["queues"] for row in sluice.show("workers")}
        assert queues == {0: [{"port": "lan", "queue": 0}], 1: [{"port": "wan", "queue": 0}]}


@pytest.mark.alone
def test_the_queues_of_a_port_are_shared_out(lab):
    pair = Pair(lab, queues=2)
    two = {
        "lan": "net_af_packet0,iface=lan,qpairs=2",
        "wan": "net_af_packet1,iface=wan,qpairs=2",
        "lan_options": "queues: 2",
        "wan_options": "queues: 2",
    }
    with pair.sluice(cores=CORES, **two) as sluice:
        assert pair.client.reaches("10.0.2.2")
        for port in range(5000, 5016):
            with Stream(pair.client, pair.server, "10.0.2.2", port=port, rate=400) as stream:
                stream.wait_for(20)
            assert stream.lost == [] and stream.in_order
        rx = [worker["rx"] for worker in sluice.show("stats")["workers"]]
        assert len(rx) == 2 and min(rx) > 20, rx


@pytest.mark.alone
def test_a_rule_push_reaches_every_worker(pair):
    with pair.sluice(cores=CORES, lan_options="workers: [0]", wan_options="workers: [1]") as sluice:
        assert pair.client.reaches("10.0.2.2")
        sluice.run("route", "add", "10.77.0.0/16", "blackhole")
        assert sluice.wait_until(
            lambda: {w["generation"] for w in sluice.show("workers")} == {sluice.generation}
        )


@pytest.mark.alone
def test_a_flow_has_one_owner_and_stays_in_order(pair):
    targets = addresses_of(0, 3) + addresses_of(1, 3)
    for address in targets:
        pair.server.address(f"{address}/24")
    with pair.sluice(**APART) as sluice:
        for address in targets:
            with Stream(pair.client, pair.server, address, rate=2000) as stream:
                assert stream.wait_for(50)
            assert stream.lost == [] and stream.in_order
            pings = pair.client.ping(address, "-s", 4000)
            assert pings.received == 3, "fragments go both ways"
        workers = sluice.show("stats")["workers"]
        # Each had flows whose packets, of one direction, the other has polled.
        assert min(worker["handed_in"] for worker in workers) > 20, workers
        assert sluice.drops()["spread-full"] == 0


@pytest.mark.alone
def test_fault_19_a_stopped_worker_costs_its_own_flows_alone(pair):
    (first,), (second,) = addresses_of(0, 1), addresses_of(1, 1)
    for address in (first, second):
        pair.server.address(f"{address}/24")
    # Both ports are polled by the first worker.
    both = {"cores": CORES, "lan_options": "workers: [0]", "wan_options": "workers: [0]"}
    with pair.sluice(**both) as sluice:
        assert pair.client.reaches(first) and pair.client.reaches(second)
        worker = threads.named(sluice.processes()["sluice-dataplane"], "worker-1")[0]
        with threads.stalled(worker):
            assert sluice.logs("worker is stalled", "worker=1")
            for _ in range(1200):
                datagram(pair.client, second, 7)
            assert sluice.wait_until(lambda: sluice.drops()["spread-full"] > 0)
            assert pair.client.reaches(first)
        assert sluice.logs("goes on", "worker=1")
        assert sluice.wait_until(lambda: pair.client.reaches(second))


def flows_pcap(path, net, router):
    """Datagrams of 40 flows to the other side, with gaps, of all lengths up to the MTU."""
    frames = []
    for number in range(600):
        flow = number * number % 40
        frames.append(
            Ether(src=f"02:00:00:00:{net:02x}:02", dst=router)
            / IP(src=f"10.0.{net}.{flow + 2}", dst=f"10.0.{3 - net}.{flow % 7 + 2}", id=number)
            / UDP(sport=4000, dport=5000)
            / Raw(bytes(number * 7 % 1400))
        )
    wrpcap(str(path), frames)


def all_is_through(sluice, received):
    """Whether all packets were received, and none is on its way between workers or held."""
    total = sluice.show("stats")["total"]
    on_their_way = total["handed_out"] - total["handed_in"] + total["held"]
    return (total["rx"], on_their_way, total["difference"]) == (received, 0, 0)


def write_out(lab, tmp_path, workers, attempt=0):
    """What so many workers write, by flow, and how many packets they dropped."""
    ports, neighbours = "", ""
    for net, name in ((1, "lan"), (2, "wan")):
        mac = f"02:00:00:00:{net:02x}:01"
        flows_pcap(tmp_path / f"{name}.pcap", net, mac)
        files = f"rx_pcap={tmp_path}/{name}.pcap,tx_pcap={tmp_path}/{name}-{workers}.pcap"
        device = f"net_pcap{net},{files}"
        ports += (
            f"  {name}: {{ device: \"{device}\", mac: \"{mac}\", "
            f"mtu: {1500 if net == 1 else 1280}, addresses: [10.0.{net}.1/24] }}\n"
        )
        for host in range(2, 42):
            neighbours += (
                f"  - {{ interface: {name}, address: 10.0.{net}.{host}, "
                f'mac: "02:00:00:00:{net:02x}:02" }}\n'
            )
    configuration = (
        f"dataplane: {{ cores: {CORES[:workers]}, memory: 256 }}\n"
        f"ports:\n{ports}neighbours:\n{neighbours}"
    )
    with Sluice(lab.namespace(f"router{workers}{attempt}"), configuration) as sluice:
        assert sluice.wait_until(lambda: all_is_through(sluice, 1200))
        dropped = sluice.show("stats")["total"]["dropped"]
    flows = {}
    for name in ("lan", "wan"):
        with PcapReader(str(tmp_path / f"{name}-{workers}.pcap")) as frames:
            for frame in (frame for frame in frames if IP in frame):
                key = (name, frame[IP].src, frame[IP].dst)
                flows.setdefault(key, []).append(bytes(frame))
    return flows, dropped


@pytest.mark.alone
def test_r13_one_worker_and_two_write_the_same(lab, tmp_path):
    """R13: the same packets make the same packets, flow by flow, however many workers there are."""
    one, dropped = write_out(lab, tmp_path, 1)
    to_wan = (len(frames) for (name, *_), frames in one.items() if name == "wan")
    assert sum(to_wan) > 600, "some were fragmented"
    # The files are read at full speed from the moment that a port is there: a worker whose core
    # belongs to somebody else just then may find its rings full.
    for attempt in range(5):
        two, lost = write_out(lab, tmp_path, 2, attempt)
        if lost == dropped:
            break
    assert lost == dropped
    assert one == two
