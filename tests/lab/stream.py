"""A numbered stream of datagrams between two hosts."""

import ipaddress
import itertools
import socket
import struct
import threading
import time

_SO_RCVBUFFORCE = 33



def datagram(host, address, port, payload=b"poison"):
    """One datagram, the same each time."""
    with host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("", port))
        sender.sendto(payload, (address, port))


class Stream:
    """Sends datagrams with sequence numbers while the `with` lasts; then tells what was lost.

    >>> with Stream(client, server, "10.0.2.2") as stream:
    ...     disturb()
    >>> assert stream.lost == [] and stream.in_order
    """

    def __init__(self, source, target, address, port=5000, rate=1000):
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        with target.entered():
            self._receiver = socket.socket(family, socket.SOCK_DGRAM)
        self._receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._receiver.bind((address, port))
        self._receiver.settimeout(0.5)
        with source.entered():
            self._sender = socket.socket(family, socket.SOCK_DGRAM)
        self._sender.connect((address, port))
        self._interval = 1 / rate
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._listen)]
        self.departures = []
        self.seen = []
        self.arrivals = []

    def __enter__(self):
        for thread in reversed(self._threads):
            thread.start()
        self.wait_for(1)
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._sender.close()
        self._receiver.close()

    def wait_for(self, datagrams, patience=5.0):
        """Waits until so many more datagrams have arrived."""
        target = len(self.seen) + datagrams
        deadline = time.monotonic() + patience
        while len(self.seen) < target and time.monotonic() < deadline:
            time.sleep(0.005)
        return len(self.seen) >= target

    @property
    def sent(self):
        """How many datagrams were sent; when each was, is in `departures`."""
        return len(self.departures)

    @property
    def lost(self):
        """Numbers that were sent and never arrived."""
        return sorted(set(range(self.sent)) - set(self.seen))

    @property
    def in_order(self):
        """Whether they arrived as they were sent, none twice."""
        return all(one < two for one, two in itertools.pairwise(self.seen))

    @property
    def gap(self):
        """The longest silence at the receiver, in seconds."""
        return max((b - a for a, b in itertools.pairwise(self.arrivals)), default=0.0)

    def _send(self):
        following = time.monotonic()
        while not self._stop.is_set():
            try:
                self._sender.send(struct.pack("!Q", self.sent))
                self.departures.append(time.monotonic())
            except OSError:  # an ICMP error came back for an earlier one: this one was not sent
                pass
            following += self._interval
            time.sleep(max(0.0, following - time.monotonic()))

    def _listen(self):
        while True:
            try:
                self.seen.append(struct.unpack("!Q", self._receiver.recv(64)[:8])[0])
                self.arrivals.append(time.monotonic())
            except TimeoutError:
                if self._stop.is_set():
                    return
