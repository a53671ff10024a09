"""Forwarders that benchmarks set beside each other: they run on one core, and each can be paused."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
PAGES_NEEDED = 640
PCAP_MAC = bytes([0x02, 0x70, 0x63, 0x61, 0x70, 0x00])
FLOWS = 1024
WARM_UP = 0.3
WINDOW = 0.7


def flows_pcap(path, flows):
    """Writes `flows` UDP/IPv4 frames of 60 bytes (64 with the frame check sequence)."""

    def checksum(header):
        total = sum(struct.unpack("!10H", header))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return ~total & 0xFFFF

    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for n in range(flows):
            src = bytes([10, 0, 0, 2 + n % 250])
            dst = bytes([10, 1, n // 256, n % 256])
            fields = (0x45, 0, 46, n, 0x4000, 64, 17)
            head = struct.pack("!BBHHHBBH4s4s", *fields, 0, src, dst)
            head = struct.pack("!BBHHHBBH4s4s", *fields, checksum(head), src, dst)
            udp = struct.pack("!HHHH", 1024 + n, 9, 26, 0) + bytes(18)
            frame = PCAP_MAC + bytes.fromhex("020000000099") + b"\x08\x00" + head + udp
            out.write(struct.pack("<IIII", 0, n, len(frame), len(frame)) + frame)


class Hugepages:
    """Reserves hugepages for a block and gives back what was added."""

    def __init__(self, pages=PAGES_NEEDED):
        self.pages = pages

    def __enter__(self):
        self.before = int(HUGEPAGES.read_text())
        self.mounted = None
        HUGEPAGES.write_text(str(self.before + self.pages))
        got = int(HUGEPAGES.read_text()) - self.before
        if got < self.pages:
            HUGEPAGES.write_text(str(self.before))
            sys.exit(f"bench: {self.pages} hugepages of 2 MiB are needed, the kernel has {got} to give")
        if not any(" hugetlbfs " in line for line in Path("/proc/mounts").read_text().splitlines()):
            self.mounted = Path("/dev/hugepages")
            self.mounted.mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "hugetlbfs", "none", self.mounted], check=True)
        return self

    def __exit__(self, *_):
        if self.mounted:
            subprocess.run(["umount", self.mounted], check=False)
        HUGEPAGES.write_text(str(self.before))


class Contender:
    """A forwarder that can be paused, with a packet counter and a worker thread."""

    name = ""

    def pids(self):
        raise NotImplementedError

    def worker(self):
        """The worker thread as (pid, tid)."""
        raise NotImplementedError

    def packets(self):
        raise NotImplementedError

    def pause(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)

    def cpu_seconds(self):
        pid, tid = self.worker()
        return int(Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0]) / 1e9

    def window(self):
        """Nanoseconds of CPU time a packet, over one window."""
        self.resume()
        time.sleep(WARM_UP)
        packets, cpu = self.packets(), self.cpu_seconds()
        time.sleep(WINDOW)
        packets, cpu = self.packets() - packets, self.cpu_seconds() - cpu
        self.pause()
        if packets <= 0:
            sys.exit(f"bench: {self.name} forwarded nothing")
        return cpu * 1e9 / packets


def thread_named(pid, *names):
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() in names:
            return int(task.name)
    sys.exit(f"bench: process {pid} has no thread {names[0]}")


class Testpmd(Contender):
    def __init__(self, mode, pcap, main_core, core):
        self.name = f"testpmd {mode}"
        self.process = subprocess.Popen(
            ["stdbuf", "-oL", "dpdk-testpmd", "-l", f"{main_core},{core}", "--no-pci", "-m", "256", f"--file-prefix=bench-{mode}-{os.getpid()}",
             "--no-telemetry", "--huge-unlink", f"--vdev=net_pcap0,rx_pcap={pcap},infinite_rx=1", "--vdev=net_null0,no-rx=1",
             "--", "-i", f"--forward-mode={mode}", "--burst=64", "--total-num-mbufs=16384"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        self.ask("start")
        time.sleep(0.5)
        self.thread = thread_named(self.process.pid, f"rte-worker-{core}", f"lcore-worker-{core}")
        self.pause()

    def ask(self, command):
        """Gives a command and returns what is said until the prompt that follows it."""
        self.process.stdin.write(f"{command}\nshow port summary all\n".encode())
        said = b""
        while b"Number of available ports" not in said:
            byte = self.process.stdout.read(4096)
            if not byte:
                sys.exit(f"bench: {self.name} ended: {said.decode(errors='replace')[-800:]}")
            said += byte
        return said.decode(errors="replace")

    def pids(self):
        return [self.process.pid]

    def worker(self):
        return self.process.pid, self.thread

    def packets(self):
        for line in self.ask("show port stats 0").splitlines():
            if "RX-packets:" in line:
                return int(line.split("RX-packets:")[1].split()[0])
        sys.exit(f"bench: {self.name} printed no RX-packets")

    def close(self):
        self.resume()
        self.process.kill()
        self.process.wait()


class Sluice(Contender):
    def __init__(self, directory, pcap, core, binaries, name="sluice", also=""):
        self.name = name
        self.dir = Path(directory) / self.name.replace(" ", "").replace("+", "-")
        self.sluice = Path(binaries) / "sluice"
        config = Path(directory) / f"{self.dir.name}.yaml"
        config.write_text(
            f"dataplane: {{ cores: [{core}], memory: 256 }}\n"
            "ports:\n"
            f'  in: {{ device: "net_pcap0,rx_pcap={pcap},infinite_rx=1", addresses: [10.0.0.1/16] }}\n'
            '  out: { device: "net_null0,no-rx=1", addresses: [10.2.0.1/24] }\n'
            "routes: [ { to: 10.1.0.0/16, via: 10.2.0.2 } ]\n"
            'neighbours: [ { interface: out, address: 10.2.0.2, mac: "02:00:00:00:00:42" } ]\n'
            + also)
        self.log = open(Path(directory) / f"{self.dir.name}.log", "w+")
        self.process = subprocess.Popen([self.sluice, "up", "-c", config, "--dir", self.dir],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.process.stdout:
            if "ready" in line:
                break
        else:
            self.log.seek(0)
            sys.exit(f"bench: sluice did not start:\n{self.log.read()}")
        self.dataplane = next(int(pid) for pid in os.listdir("/proc") if pid.isdigit() and self.is_dataplane(pid))
        self.thread = thread_named(self.dataplane, "worker-0")
        time.sleep(0.5)
        self.pause()

    def is_dataplane(self, pid):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            name, rest = stat[stat.index("(") + 1:].rsplit(")", 1)
            return name.startswith("sluice-dataplan") and int(rest.split()[1]) == self.process.pid
        except (OSError, ValueError):
            return False

    def pids(self):
        return [self.dataplane]

    def worker(self):
        return self.dataplane, self.thread

    def ask(self, *command):
        said = subprocess.run([self.sluice, "--dir", self.dir, "--json", *command], check=True, capture_output=True)
        return json.loads(said.stdout)

    def packets(self):
        stats = self.ask("show", "stats")
        return stats["total"]["tx"]

    def stages(self):
        return subprocess.run([self.sluice, "--dir", self.dir, "show", "pipeline"], capture_output=True, text=True).stdout

    def close(self):
        self.resume()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
