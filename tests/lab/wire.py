"""The bare end of a cable."""

import errno
import importlib
import logging
import socket
import struct
import time

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.l2 import Ether

importlib.import_module("scapy.layers.inet6")  # else IPv6 is not dissected

_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_PACKET_IGNORE_OUTGOING = 23
_TP_STATUS_VLAN_VALID = 1 << 4
_ETH_P_ALL = 3


class Wire:
    """Sends and receives whole frames on one interface; the kernel's own are not seen."""

    def __init__(self, namespace, interface, peer=None):
        self.namespace = namespace
        self.peer = peer  # the link address at the other end
        self.mac = namespace.mac(interface)
        with namespace.entered():
            self.socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)
            )
        self.socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self.socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((interface, _ETH_P_ALL))
        namespace.at_close(self.close)

    def close(self):
        """Gives the socket back."""
        self.socket.close()

    def send(self, *frames):
        """Sends frames as they are: scapy packets or bytes."""
        for frame in frames:
            self.socket.send(bytes(frame))

    def say(self, *packets):
        """Sends IP packets to the other end."""
        self.send(*(Ether(src=self.mac, dst=self.peer) / packet for packet in packets))

    def frames(self, seconds):
        """Frames as they come in for so many seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                yield Ether(self._receive())
            except (TimeoutError, BlockingIOError):
                return

    def _receive(self):
        """One frame, with the VLAN tag that the kernel took out put back."""
        frame, ancillary, _, _ = self.socket.recvmsg(65536, 256)
        for level, kind, data in ancillary:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
                if status & _TP_STATUS_VLAN_VALID:
                    return frame[:12] + struct.pack("!HH", tpid or 0x8100, tci) + frame[12:]
        return frame

    def waiting(self):
        """The frames that have come in, as bytes; does not wait for more."""
        self.socket.setblocking(False)
        try:
            while True:
                yield self._receive()
        except OSError as error:
            self.socket.setblocking(True)
            if error.errno not in (errno.EAGAIN, errno.ENETDOWN):
                raise

    def drain(self):
        """Forgets what came in so far."""
        self.socket.setblocking(False)
        try:
            while True:
                self.socket.recv(65536)
        except BlockingIOError:
            pass

    def collect(self, wanted, seconds=0.3):
        """Every frame of the next seconds for which `wanted(frame)` is true."""
        return [frame for frame in self.frames(seconds) if wanted(frame)]

    def expect(self, wanted, seconds=2.0):
        """The first frame for which `wanted(frame)` is true."""
        others = []
        for frame in self.frames(seconds):
            if wanted(frame):
                return frame
            others.append(frame.summary())
        raise AssertionError(f"no such frame in {seconds} s; came instead: {others or 'nothing'}")

    def expect_none(self, unwanted, seconds=0.3):
        """No frame for which `unwanted(frame)` is true comes in the next seconds."""
        for frame in self.frames(seconds):
            if unwanted(frame):
                raise AssertionError(f"came, and should not have: {frame.summary()}")
