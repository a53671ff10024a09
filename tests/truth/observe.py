"""Reads what comes out of the router, and answers when it asks for a neighbour."""

import collections
import ipaddress
import struct
import time

from .packets import ICMP, ICMPV6, TCP, checksum
from .worlds import link_address

_ARP, _IPV4, _IPV6, _VLAN = 0x0806, 0x0800, 0x86DD, 0x8100
_ERRORS = {
    (3, 0): "network-unreachable",
    (3, 1): "host-unreachable",
    (3, 2): "protocol-unreachable",
    (3, 3): "port-unreachable",
    (3, 4): "too-big",
    (3, 13): "prohibited",
    (11, 0): "time-exceeded",
}
_ERRORS6 = {
    (1, 0): "network-unreachable",
    (1, 1): "prohibited",
    (1, 3): "host-unreachable",
    (1, 4): "port-unreachable",
    (1, 6): "host-unreachable",
    (2, 0): "too-big",
    (3, 0): "time-exceeded",
    (4, 1): "protocol-unreachable",
}


class Frame:
    """A frame that came out of a port."""

    def __init__(self, port, data):
        self.port, self.data = port, data
        self.destination = ":".join(f"{byte:02x}" for byte in data[:6])
        self.vlan, offset = None, 12
        (self.ethertype,) = struct.unpack_from("!H", data, offset)
        if self.ethertype == _VLAN:
            tag, self.ethertype = struct.unpack_from("!HH", data, 14)
            self.vlan, offset = tag & 0xFFF, 16
        self.ip = data[offset + 2 :]
        if self.ethertype == _IPV4:
            self.src, self.dst = self.ip[12:16], self.ip[16:20]
            self.protocol, self._payload = self.ip[9], self.ip[20:]
            self._label, field = struct.unpack_from("!HH", self.ip, 4)
            if field & 0x1FFF and any(self._payload[:2]):  # a later piece of another's datagram
                self._label = struct.unpack_from("!H", self._payload)[0]
        elif self.ethertype == _IPV6:
            self.src, self.dst = self.ip[8:24], self.ip[24:40]
            self.protocol, self._payload = self.ip[6], self.ip[40:]
            self._label = struct.unpack_from("!I", self.ip, 0)[0] & 0xFFFFF

    def __repr__(self):
        return f"{self.port} {self.vlan} {self.data.hex()}"

    @property
    def number(self):
        """The number of the packet that it is, or is an answer to."""
        if self._label:
            return self._label
        if self.protocol == TCP:  # a reset: it repeats one of the sequence numbers
            sequence, acknowledgement = struct.unpack_from("!II", self._payload, 4)
            return (acknowledgement or sequence) >> 16
        if self.protocol == ICMPV6:  # an error: the flow label of what it quotes
            return struct.unpack_from("!I", self._payload, 8)[0] & 0xFFFFF
        return None

    def kind_of(self, packet):
        """What it is to the packet: itself, forwarded, or which answer."""
        src, dst = (ipaddress.ip_address(a).packed for a in (packet.src, packet.dst))
        if (self.src, self.dst) == (src, dst):
            return "forwarded"
        if self.dst != src:
            return f"neither it nor an answer: {self}"
        kind = (self._payload[0], self._payload[1])
        if self.protocol == TCP and self._payload[13] & 0x04:
            return "reset"
        if self.protocol == ICMP:
            return "echo-reply" if kind[0] == 0 else _ERRORS.get(kind, f"ICMP {kind}")
        if self.protocol == ICMPV6:
            return "echo-reply" if kind[0] == 129 else _ERRORS6.get(kind, f"ICMPv6 {kind}")
        return f"no answer: {self}"


def joined(frames, count_of):
    """The frames, with the pieces of packets that were cut put together. A port sends the pieces of
    a packet one after the other; `count_of` says how many a first piece belongs to."""
    whole = []
    of_port = collections.defaultdict(list)
    for frame in frames:
        of_port[frame.port].append(frame)
    for row in of_port.values():
        while row:
            count = count_of(row[0].number)
            whole.append(_join(row[:count]) if count > 1 else row[0])
            del row[:count]
    return whole


def _join(pieces):
    """One frame of the pieces of one, each of which is as it has to be."""
    first, start = pieces[0], None
    payload = b""
    for piece in pieces:
        assert checksum(piece.ip[:20]) == 0, f"{piece}: header checksum"
        assert piece.ip[4:6] == first.ip[4:6], f"{piece} is no piece of {first}"
        field = struct.unpack_from("!H", piece.ip, 6)[0]
        start = field & 0x1FFF if start is None else start
        assert (field & 0x1FFF) * 8 == start * 8 + len(payload), f"{piece} leaves a gap"
        payload += piece.ip[20 : struct.unpack_from("!H", piece.ip, 2)[0]]
    head = bytearray(first.ip[:20])
    struct.pack_into("!H", head, 2, 20 + len(payload))
    struct.pack_into("!H", head, 6, field & 0xE000 | start)
    struct.pack_into("!H", head, 10, 0)
    struct.pack_into("!H", head, 10, checksum(bytes(head)))
    return Frame(first.port, first.data[: len(first.data) - len(first.ip)] + bytes(head) + payload)


class Observer:
    """The wires' frames, counted against the router's own books: it has received what was sent,
    and what it has sent has come."""

    def __init__(self, wires, control):
        self._wires, self._control = wires, control
        # What was on the wires before is nobody's.
        before, quiet = None, 0
        while quiet < 5:
            self._received = self._sent = 0
            said, now = self._collect(None), self._counters()
            quiet = quiet + 1 if (said, now) == (0, before) else 0
            before = now
            time.sleep(0.02)
        self._received, self._sent = now["rx"], now["tx"]

    def begin(self, patience):
        """Waits until the router has nothing to say."""
        self._settle(None, patience)

    def finish(self, sent, patience):
        """All IP frames that came out since `begin`, once `sent` packets have gone their way."""
        self._received += sent
        frames = []
        self._settle(frames, patience)
        return frames

    def _settle(self, frames, patience):
        deadline = time.monotonic() + patience
        while True:
            said, now = self._collect(frames), self._counters()
            wanted = {"rx": self._received, "tx": self._sent, "held": 0}
            if said == 0 and now == wanted:
                return
            assert time.monotonic() < deadline, f"the wires have {wanted}, the router {now}"

    def _collect(self, frames):
        """Reads what there is, and answers ARP; how many frames came."""
        seen = 0
        for port, wire in self._wires.items():
            for data in wire.waiting():
                seen += 1
                self._sent += 1
                frame = Frame(port, data)
                if frame.ethertype == _ARP:
                    self._answer(wire, frame)
                elif frames is not None:
                    frames.append(frame)
        return seen

    def _answer(self, wire, frame):
        operation, router, asker, target = struct.unpack("!H6s4s6x4s", frame.ip[6:28])
        if operation != 1 or asker == target:
            return
        mac = bytes.fromhex(link_address(str(ipaddress.ip_address(target))).replace(":", ""))
        tag = b"" if frame.vlan is None else struct.pack("!HH", _VLAN, frame.vlan)
        reply = struct.pack("!HHHBBH6s4s6s4s", _ARP, 1, _IPV4, 6, 4, 2, mac, target, router, asker)
        wire.send(frame.data[6:12] + mac + tag + reply)
        self._received += 1

    def _counters(self):
        total = self._control.get("/v1/stats")["total"]
        return {key: total[key] for key in ("rx", "tx", "held")}
