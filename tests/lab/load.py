"""A numbered stream of frames between wires, for tests in which no packet may be lost."""

import itertools
import multiprocessing
import os
import select
import socket
import struct
import time

_PORT = 9  # discard
_SO_RCVBUFFORCE = 33
# How long after the last frame a straggler may still come.
_STRAGGLERS = 2.0


def slowness():
    """How much longer things take on a machine that has other work: 1 when it is idle."""
    return max(1.0, os.getloadavg()[0] / os.cpu_count())


class Load:
    """Sends numbered datagrams into the router by one wire while the `with` lasts, and notes by
    which of others each came out.

    Both ends are processes of their own, so that nothing the test does meanwhile delays them.
    `frame` is the first of them. Afterwards: `sent` is how many there were, `came` the numbers in
    order of arrival for each wire, `gap` the longest silence in seconds.

    `starved()` counts frames that the kernel dropped before the router saw them. They are lost all
    the same, unless the machine has more work than it can do: then nobody can tell why the router
    was not given the processor, and so many are excused.
    """

    def __init__(self, source, sinks, destination, origin="10.0.1.2", rate=2000, starved=None):
        self._starved = starved or (lambda: 0)
        self._excused = 0
        self.frame = _frame(source, origin, destination)
        self._source, self._sinks, self._rate = source, sinks, rate
        context = multiprocessing.get_context("fork")
        self._stop, self._done = context.Event(), context.Event()
        self._count = context.Value("Q", 0)
        self._arrived = context.Value("Q", 0)
        self._results, results = context.Pipe(duplex=False)
        self._processes = [
            context.Process(target=self._listen, args=(results,), daemon=True),
            context.Process(target=self._send, daemon=True),
        ]

    def __enter__(self):
        self._excused = -self._starved()
        for process in self._processes:
            process.start()
        assert self.wait_for(1), "no packet comes through"
        return self

    def __exit__(self, failure, *_):
        self._stop.set()
        if failure is not None:
            self._done.set()
        if self._results.poll(_STRAGGLERS + 10):
            self.came, self.gap = self._results.recv()
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()
        busy = slowness() > 1.5
        self._excused = self._excused + self._starved() if busy else 0

    @property
    def sent(self):
        """Datagrams sent so far."""
        return self._count.value

    def wait_for(self, datagrams, patience=10.0):
        """Waits until so many more have arrived; says whether they have."""
        target = self._arrived.value + datagrams
        deadline = time.monotonic() + patience
        while self._arrived.value < target and time.monotonic() < deadline:
            time.sleep(0.005)
        return self._arrived.value >= target

    @property
    def lost(self):
        """Numbers that were sent and never came out."""
        lost = sorted(set(range(self.sent)).difference(*self.came.values()))
        return lost if len(lost) > self._excused else []

    @property
    def doubled(self):
        """How many came out more than once."""
        everything = list(itertools.chain(*self.came.values()))
        return len(everything) - len(set(everything))

    @property
    def in_order(self):
        """Whether each wire had them in the order of sending."""
        return all(
            one < two for numbers in self.came.values() for one, two in itertools.pairwise(numbers)
        )

    # -- the two processes -------------------------------------------------------------------

    def _send(self):
        frame, start, number = bytearray(self.frame), time.monotonic(), 0
        wire = self._source.socket
        while not self._stop.is_set():
            due = int((time.monotonic() - start) * self._rate) + 1
            # After a pause of this machine's, not everything at once.
            for _ in range(min(due - number, 64)):
                struct.pack_into("!Q", frame, 42, number)
                wire.send(frame)
                number += 1
            if due - number > 64:
                start = time.monotonic() - number / self._rate
            self._count.value = number
            time.sleep(0.001)
        self._done.set()

    def _listen(self, results):
        names = {sink.socket.fileno(): name for name, sink in self._sinks.items()}
        sockets = {sink.socket.fileno(): sink.socket for sink in self._sinks.values()}
        for descriptor in sockets.values():
            descriptor.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
            descriptor.setblocking(False)
        came, gap, last, arrived = {name: [] for name in self._sinks}, 0.0, None, 0
        ended = None
        while True:
            if self._done.is_set():
                ended = ended or time.monotonic()
                if arrived >= self._count.value or time.monotonic() > ended + _STRAGGLERS:
                    break
            for descriptor in select.select(list(sockets), [], [], 0.05)[0]:
                try:
                    while True:
                        frame = sockets[descriptor].recv(2048)
                        number = _number(frame)
                        if number is None:
                            continue
                        now = time.monotonic()
                        gap, last = max(gap, now - (last or now)), now
                        came[names[descriptor]].append(number)
                        arrived += 1
                except (BlockingIOError, OSError):
                    pass
            self._arrived.value = arrived
        results.send((came, gap))


def _frame(source, origin, destination):
    link = bytes.fromhex((source.peer + source.mac).replace(":", "")) + b"\x08\x00"
    addresses = socket.inet_aton(origin) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 48, 0, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", header))
    header = header[:10] + struct.pack("!H", 0xFFFF - total % 0xFFFF) + header[12:]
    return link + header + struct.pack("!HHHH", 40000, _PORT, 28, 0) + bytes(20)


def _number(frame):
    """The number of one of ours; `None` for another frame."""
    if len(frame) < 50 or frame[12:14] != b"\x08\x00" or frame[36:38] != struct.pack("!H", _PORT):
        return None
    return struct.unpack_from("!Q", frame, 42)[0]
