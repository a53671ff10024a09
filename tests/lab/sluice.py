"""Runs Sluice and holds it to its promises."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

_REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
_CAME = ("rx", "generated", "handed_in")
_WENT = ("tx", "punted", "consumed", "dropped", "handed_out", "held")


def binaries():
    """The folder that holds the programs under test."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", _REPOSITORY / "target"))
    return pathlib.Path(os.environ.get("SLUICE_BIN", target / "release")).resolve()


def worker_core():
    """A core for a worker: the last that this process may use, so that the first stays free. Tests
    that run at the same time have one each."""
    cores = sorted(os.sched_getaffinity(0), reverse=True)
    process = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return cores[int(process) % len(cores)]


class Sluice:
    """`sluice up` with a configuration file, in a namespace; use it in a `with`."""

    running = []  # those whose accounts are checked after each test

    def __init__(self, namespace, configuration):
        self.namespace = namespace
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-e2e-"))
        self.file = self.directory / "sluice.yaml"
        self.file.write_text(configuration)
        self._log = self.directory / "log"
        self._process = None
        self._taken = None

    # -- life --------------------------------------------------------------------------------

    def __enter__(self):
        try:
            return self.up()
        except BaseException:
            self.discard()
            raise

    def __exit__(self, failure, *_):
        try:
            if failure is None and self._process is not None:
                self.accounts_balance()
                self.down()
        finally:
            print(self.log)  # pytest shows it when the test fails
            self.discard()

    def command(self, *argv):
        """The command line of `sluice` for this appliance."""
        return [
            *(binaries() / "sluice", "--name", self.directory.name),
            *("--dir", self.directory / "run", *argv),
        ]

    def up(self, patience=20.0):
        """Starts both processes and waits for the line that says they forward."""
        self._taken = interfaces(self.namespace)
        with open(self._log, "a") as log:
            self._process = self.namespace.start(
                *self.command("up", "-c", self.file), stdout=log, stderr=subprocess.STDOUT
            )
        already = self.log.count("sluice: ready")
        deadline = time.monotonic() + patience
        while self.log.count("sluice: ready") == already:
            if self._process.poll() is not None:
                raise AssertionError(f"sluice up ended by itself:\n{self.log}")
            if time.monotonic() > deadline:
                raise AssertionError(f"sluice up was not ready in {patience} s:\n{self.log}")
            time.sleep(0.02)
        Sluice.running.append(self)
        return self

    def down(self, number=signal.SIGTERM):
        """A signal to stop: exit status 0, nothing left running, interfaces as they were."""
        self._forget()
        process, self._process = self._process, None
        process.send_signal(number)
        try:
            status = process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"sluice up ignored {number.name} for 10 s:\n{self.log}") from None
        assert status == 0, f"sluice up ended with status {status}:\n{self.log}"
        assert self.processes() == {}, f"left running: {self.processes()}"
        self.interfaces_given_back()

    def interfaces_given_back(self):
        """The kernel's interfaces are as they were before `up`."""
        now, deadline = interfaces(self.namespace), time.monotonic() + 2.0
        while now != self._taken and time.monotonic() < deadline:
            time.sleep(0.05)
            now = interfaces(self.namespace)
        changed = {
            f"{name} {key}": f"{value!r} before, {now.get(name, {}).get(key)!r} now"
            for name, settings in self._taken.items()
            for key, value in settings.items()
            if now.get(name, {}).get(key) != value
        }
        assert not changed, f"not given back as it was: {changed}"

    def kill(self):
        """SIGKILL for everything at once, and the end of it: there is nothing left to stop."""
        victims = self.processes().values()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        self.killed()
        assert self.wait_until(lambda: all(map(_dead, victims))), "SIGKILL, and still alive"

    def killed(self):
        """The test killed `sluice up` itself: there is nothing left to stop."""
        self._forget()
        self._process, process = None, self._process
        process.wait(timeout=10)

    def discard(self):
        """Ends everything without asking questions and removes the files."""
        self._forget()
        for pid in [*self.processes().values()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _forget(self):
        if self in Sluice.running:
            Sluice.running.remove(self)

    @property
    def log(self):
        """What both processes printed."""
        return self._log.read_text() if self._log.exists() else ""

    def processes(self):
        """Process ids by program: `sluice`, `sluice-control`, `sluice-dataplane`."""
        found = {}
        for pid in self.namespace.pids():
            with contextlib.suppress(OSError):
                state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                program = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
                if state != "Z" and os.path.basename(program).startswith("sluice"):
                    found[os.path.basename(program)] = pid
        return found

    # -- the command line --------------------------------------------------------------------

    def run(self, *argv, check=True):
        """Runs `sluice …` as the operator would; its output is in `.stdout` and `.stderr`."""
        return self.namespace.run(*self.command(*argv), check=check)

    def json(self, *argv):
        """What `sluice … --json` answers."""
        return json.loads(self.run("--json", *argv).stdout)

    def show(self, what, *options):
        """`sluice show WHAT` as data."""
        return self.json("show", what, *options)

    def apply(self, configuration, check=True):
        """Writes the configuration file anew and applies it."""
        self.file.write_text(configuration)
        return self.run("apply", self.file, check=check)

    def explain(self, **question):
        """`sluice explain`, as in `explain(in_="lan", src="10.0.1.2", …)`."""
        flags = [word for key, value in question.items() for word in (_flag(key), value)]
        return self.json("explain", *flags)

    # -- what the operator sees --------------------------------------------------------------

    @property
    def generation(self):
        """The generation that is live."""
        return self.show("status")["progress"]["generation"]

    def committed(self):
        """Whether the control process answers and the dataplane runs what is desired."""
        status = self.run("--json", "show", "status", check=False)
        if status.returncode != 0:
            return False
        return json.loads(status.stdout)["progress"]["state"] == "committed"

    def drops(self):
        """Packets dropped, by reason; reasons without drops read 0."""
        return _Counts({row["reason"]: row["packets"] for row in self.show("drops")})

    def rules(self):
        """Packets that matched, by rule."""
        return _Counts({row["name"]: row["packets"] for row in self.show("rules")})

    def port(self, name):
        """A port's counters."""
        return next(row for row in self.show("stats")["ports"] if row["port"] == name)

    def wait_until(self, true, patience=5.0):
        """Polls until `true()`; says whether it came true in time."""
        deadline = time.monotonic() + patience
        while not true():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    # -- accounting --------------------------------------------------------------------------

    def logs(self, *words, patience=5.0):
        """Waits for a line of the log with all of the words."""
        return self.wait_until(
            lambda: any(all(word in line for word in words) for line in self.log.splitlines()),
            patience,
        )

    def accounts_balance(self, patience=3.0):
        """Every worker accounts for every packet, exactly, as soon as the traffic has ended."""
        deadline = time.monotonic() + patience
        before, now = None, self._accounts()
        while before != now or _imbalances(now):
            assert time.monotonic() < deadline, f"packets unaccounted for: {_imbalances(now)} {now}"
            time.sleep(0.05)
            before, now = now, self._accounts()

    def _accounts(self):
        keys = ("worker", *_CAME, *_WENT)
        return [{key: row[key] for key in keys} for row in self.show("stats")["workers"]]


def _imbalances(accounts):
    """What is wrong with a set of accounts: nothing, when every packet is accounted for."""
    wrong = {}
    for account in accounts:
        difference = sum(account[key] for key in _CAME) - sum(account[key] for key in _WENT)
        if difference:
            wrong[f"worker {account['worker']}"] = difference
    between = sum(account["handed_out"] - account["handed_in"] for account in accounts)
    if between:
        wrong["between workers"] = between
    return wrong


def _flag(key):
    return "--" + key.strip("_").replace("_", "-")


def _dead(pid):
    """Whether a process is gone with all its threads, and with what they held."""
    try:
        tasks = list(pathlib.Path(f"/proc/{pid}/task").glob("*/stat"))
        return all(task.read_text().rpartition(")")[2].split()[0] in "ZX" for task in tasks)
    except OSError:
        return True


class _Counts(dict):
    def __missing__(self, _):
        return 0


def interfaces(namespace):
    """What of a namespace's interfaces Sluice must give back: everything an operator set."""
    fleeting = {"LOWER_UP", "NO-CARRIER", "M-DOWN", "DORMANT"}
    links = json.loads(namespace.run("ip", "-j", "-d", "link", "show").stdout)
    addresses = json.loads(namespace.run("ip", "-j", "addr", "show").stdout)
    kept = {}
    for link in links:
        name = link["ifname"]
        kept[name] = {
            "flags": sorted(set(link["flags"]) - fleeting),
            "mac": link.get("address"),
            "mtu": link["mtu"],
            "promiscuity": link["promiscuity"],
            "xdp": "xdp" in link,
            "disable_ipv6": namespace.sysctl(f"net/ipv6/conf/{name}/disable_ipv6"),
            "addresses": sorted(
                address["local"]
                for row in addresses
                if row.get("ifname") == name
                for address in row["addr_info"]
                if address["scope"] != "link"
            ),
        }
    return kept
