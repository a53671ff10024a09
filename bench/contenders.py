"""Forwarders that benchmarks set beside each other: they run on one core, and each can be paused."""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
WARM_UP = 0.3
WINDOW = 0.7


class Hugepages:
    """Reserves hugepages for a block and gives back what was added."""

    def __init__(self, mebibytes=1280):
        self.pages = mebibytes // 2

    def __enter__(self):
        self.before = int(HUGEPAGES.read_text())
        self.mounted = None
        for effort in ("compact_memory", "drop_caches", None):
            HUGEPAGES.write_text(str(self.before + self.pages))
            got = int(HUGEPAGES.read_text()) - self.before
            if got >= self.pages:
                break
            if effort:  # memory is in pieces, or full of caches
                Path(f"/proc/sys/vm/{effort}").write_text("1")
        else:
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
        # Someone else may have reserved some meanwhile.
        HUGEPAGES.write_text(str(max(0, int(HUGEPAGES.read_text()) - self.pages)))


class Contender:
    """A forwarder that can be paused, with a packet counter and worker threads."""

    name = ""

    def pids(self):
        raise NotImplementedError

    def workers(self):
        """The worker threads, each as (pid, tid)."""
        raise NotImplementedError

    def packets(self):
        raise NotImplementedError

    def pause(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)

    def answers(self):
        """Waits until it can be asked for its packets again."""

    def cpu_seconds(self):
        """What the workers have run, on average of them."""
        schedstats = [Path(f"/proc/{pid}/task/{tid}/schedstat").read_text() for pid, tid in self.workers()]
        return statistics.fmean(int(text.split()[0]) for text in schedstats) / 1e9

    def window(self, seconds=WINDOW):
        """Nanoseconds of CPU time a packet, over one window."""
        self.resume()
        self.answers()
        time.sleep(WARM_UP)
        packets, cpu = self.packets(), self.cpu_seconds()
        time.sleep(seconds)
        packets, cpu = self.packets() - packets, self.cpu_seconds() - cpu
        self.pause()
        if packets <= 0:
            sys.exit(f"bench: {self.name} forwarded nothing")
        return cpu * 1e9 / packets


def interleaved(contenders, rounds):
    """Nanoseconds a packet of each contender, by name: so many windows of each, in turn, so that
    whatever else the machine does hits all of them alike."""
    costs = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            costs[contender.name].append(contender.window())
    return costs


def threads_named(pid, pattern):
    tasks = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda task: int(task.name))
    return [int(task.name) for task in tasks if re.fullmatch(pattern, (task / "comm").read_text().strip())]


class Testpmd(Contender):
    def __init__(self, mode, devices, cores=(1,), main_core=0, name=None, memory=256, mbufs=16384, queues=1, huge=True, environment=None, more=()):
        """`devices` in the order of ports. The pool is of `mbufs` in so many MiB of `memory`."""
        self.name = name or f"testpmd {mode}"
        pages = ["--huge-unlink"] if huge else ["--no-huge"]
        self.process = subprocess.Popen(
            ["stdbuf", "-oL", "dpdk-testpmd", "-l", ",".join(map(str, (main_core, *cores))), "--no-pci", "-m", str(memory),
             f"--file-prefix=bench-{os.getpid()}-{id(self)}", "--no-telemetry", *pages,
             *(f"--vdev={device}" for device in devices),
             "--", "-i", f"--forward-mode={mode}", "--burst=64", f"--total-num-mbufs={mbufs}",
             f"--rxq={queues}", f"--txq={queues}", f"--nb-cores={len(cores)}", *more],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            env={**os.environ, **(environment or {})})
        self.ask("start")
        time.sleep(0.5)
        self.threads = threads_named(self.process.pid, r"(rte|lcore)-worker-\d+")
        self.pause()

    def ask(self, command):
        """Gives a command and returns what is said until the prompt that follows it."""
        self.process.stdin.write(f"{command}\nshow port summary all\n".encode())
        said = b""
        while b"Number of available ports" not in said:
            some = self.process.stdout.read(4096)
            if not some:
                sys.exit(f"bench: {self.name} ended: {said.decode(errors='replace')[-800:]}")
            said += some
        return said.decode(errors="replace")

    def pids(self):
        return [self.process.pid]

    def workers(self):
        return [(self.process.pid, thread) for thread in self.threads]

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
    def __init__(self, directory, configuration, binaries, name="sluice", counter="tx", environment=None, before=(), paused=True):
        """Runs a configuration; `counter` of the totals is what counts as packets."""
        self.name, self.counter = name, counter
        self.dir = Path(directory) / re.sub(r"[^a-z0-9]+", "-", name.lower())
        self.sluice = Path(binaries) / "sluice"
        self.config = Path(f"{self.dir}.yaml")
        self.config.write_text(configuration)
        self.log = open(f"{self.dir}.log", "w+")
        self.process = subprocess.Popen(
            [*before, self.sluice, "up", "-c", self.config, "--dir", self.dir],
            stdout=subprocess.PIPE, stderr=self.log, text=True, env={**os.environ, **(environment or {})})
        for line in self.process.stdout:
            if "ready" in line:
                break
        else:
            self.log.seek(0)
            sys.exit(f"bench: sluice did not start:\n{self.log.read()}")
        children = (pid for pid in os.listdir("/proc") if pid.isdigit())
        self.dataplane = next(int(pid) for pid in children if self.is_dataplane(pid))
        self.threads = threads_named(self.dataplane, r"worker-\d+")
        time.sleep(0.5)
        if paused:
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

    def workers(self):
        return [(self.dataplane, thread) for thread in self.threads]

    def run(self, *command):
        """What a command of `sluice` prints."""
        said = subprocess.run([self.sluice, "--dir", self.dir, *command], capture_output=True, text=True)
        if said.returncode:
            sys.exit(f"bench: sluice {' '.join(map(str, command))}: {said.stderr}")
        return said.stdout

    def ask(self, *command):
        return json.loads(self.run("--json", *command))

    def answers(self):
        """The control process lost sight of a dataplane that stood still, and finds it again."""
        deadline = time.monotonic() + 30
        asked = [self.sluice, "--dir", self.dir, "--json", "show", "stats"]
        while subprocess.run(asked, capture_output=True).returncode and time.monotonic() < deadline:
            time.sleep(0.1)

    def packets(self):
        return self.ask("show", "stats")["total"][self.counter]

    def close(self):
        self.resume()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Together(Contender):
    """Forwarders that run at the same time, taken as one."""

    def __init__(self, name, *contenders):
        self.name, self.contenders = name, contenders

    def pids(self):
        return [pid for contender in self.contenders for pid in contender.pids()]

    def workers(self):
        return [worker for contender in self.contenders for worker in contender.workers()]

    def answers(self):
        for contender in self.contenders:
            contender.answers()

    def packets(self):
        return sum(contender.packets() for contender in self.contenders)

    def close(self):
        for contender in self.contenders:
            contender.close()
