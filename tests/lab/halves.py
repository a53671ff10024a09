"""The two processes of an appliance without `sluice up`: each can be killed and started alone."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from .control import Control, Refused
from .sluice import binaries, worker_core


class Halves:
    """A dataplane and a control process on one directory; use it in a `with`."""

    def __init__(self, namespace, configuration, cores=None, dataplane_options=()):
        self.namespace = namespace
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-e2e-"))
        self.file = self.directory / "sluice.yaml"
        self.file.write_text(configuration)
        self.run = self.directory / "run"
        cores = [worker_core()] if cores is None else cores
        self._arguments = {
            "sluice-dataplane": [
                *("--name", self.directory.name, "--cores", ",".join(map(str, cores))),
                *("--memory", 256, *dataplane_options),
            ],
            "sluice-control": ["--config", self.file],
        }
        self._environment = {"sluice-dataplane": {}, "sluice-control": {}}
        self._processes = {}
        self._log = self.directory / "log"

    def __enter__(self):
        try:
            self.start("sluice-dataplane")
            self.start("sluice-control")
            self.wait_until_committed()
        except BaseException:
            self.discard()
            raise
        return self

    def __exit__(self, *_):
        print(self.log[-20000:])
        self.discard()

    @property
    def log(self):
        """What both printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def environment(self, program, **variables):
        """Variables that a program has from its next start on."""
        self._environment[program] = variables

    def options(self, program, *more):
        """Options that a program has from its next start on, beside the usual ones."""
        self._arguments[program] += more

    def start(self, program):
        """Starts one of the two."""
        with open(self._log, "a") as log:
            self._processes[program] = self.namespace.start(
                *(binaries() / program, "--dir", self.run, *self._arguments[program]),
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment[program]},
            )

    def pid(self, program):
        """The process id of one of the two."""
        return self._processes[program].pid

    def running(self, program):
        """Whether one of the two runs."""
        return self._processes[program].poll() is None

    def kill(self, *programs):
        """SIGKILL, and the end of it."""
        for program in programs:
            self._processes[program].kill()
        for program in programs:
            self._processes[program].wait(timeout=10)

    def stop(self, program, patience=10):
        """SIGTERM; the exit status."""
        self._processes[program].terminate()
        return self._processes[program].wait(timeout=patience)

    @contextlib.contextmanager
    def frozen(self, program):
        """The process does not run while the `with` lasts."""
        os.kill(self.pid(program), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid(program), signal.SIGCONT)

    @contextlib.contextmanager
    def control(self):
        """The control process's interface."""
        control = Control(self.run)
        try:
            yield control
        finally:
            control.close()

    def ask(self, path):
        """`GET path`, or `None` when nobody answers."""
        try:
            with self.control() as control:
                return control.get(path)
        except (OSError, Refused):
            return None

    def generation(self):
        """The generation that is live; `None` when the dataplane is not as desired."""
        status = self.ask("/v1/status")
        if status is None or status["progress"]["state"] != "committed":
            return None
        return status["progress"]["generation"]

    def wait_until_committed(self, patience=20.0):
        """Waits until the dataplane is as desired; the generation."""
        deadline = time.monotonic() + patience
        while (generation := self.generation()) is None:
            for program, process in self._processes.items():
                assert process.poll() is None, f"{program} ended by itself:\n{self.log[-6000:]}"
            late = f"not committed in {patience} s:\n{self.log[-6000:]}"
            assert time.monotonic() < deadline, late
            time.sleep(0.01)
        return generation

    def resident(self, program):
        """Kilobytes of memory that a process has."""
        status = pathlib.Path(f"/proc/{self.pid(program)}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def processor_time(self, program):
        """Seconds of processor time that a process has had."""
        fields = pathlib.Path(f"/proc/{self.pid(program)}/stat").read_text().rpartition(")")[2]
        return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def discard(self):
        """Ends everything and removes the files."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
