"""Random packets: as the bytes of a frame, and as the question to `explain`.

A packet's number stands where it survives every way through a router: in the identification of
IPv4, the flow label of IPv6, and the sequence numbers of TCP, which a reset repeats. A later piece
of another packet's datagram has it at the beginning of its payload.
"""

import copy
import ipaddress
import struct

from .worlds import FIXED_HOSTS, PORT_MTU

ICMP, TCP, UDP, DCCP, FRAGMENT, ICMPV6, SCTP, UDP_LITE = 1, 6, 17, 33, 44, 58, 132, 136
_WITH_PORTS = (UDP, DCCP, SCTP, UDP_LITE)
_BROADCAST = b"\xff" * 6
_GROUP = bytes.fromhex("01005e000001")
# Least bytes of a layer-4 header that a decoder demands.
_LEAST = {ICMP: 8, ICMPV6: 8, TCP: 20, UDP: 8, UDP_LITE: 8, SCTP: 12, DCCP: 12}


class Packet:
    """One packet on its way to the router."""

    def __init__(self, number, interface, random, world):
        self.number, self.interface = number, interface
        self.identification, self.first = number, None
        self._random, self._world = random, world
        self.family = random.choice(interface.families)
        self.src, self.dst = self._source(), self._destination()
        self.protocol = random.choices(
            (TCP, UDP, ICMP if self.family == 4 else ICMPV6, SCTP, 47, UDP_LITE, DCCP, 99),
            (8, 6, 6, 1, 1, 1, 1, 1),
        )[0]
        ports = (22, 53, 80, 443, 1024, 5000, 40000, random.randint(0, 65535))
        self.src_port, self.dst_port = random.choice(ports), random.choice(ports)
        self.tcp_flags = random.choice((0x02, 0x02, 0x10, 0x12, 0x04, 0x14, 0x01, 0x18, 0, 0xFF))
        if self.family == 4:
            self.icmp_type = random.choice((8, 8, 8, 0, 3, 11, 13, random.randint(0, 255)))
        else:
            self.icmp_type = random.choice((128, 128, 128, 129, 1, 2, 3, random.randint(0, 255)))
        self.icmp_code = random.choice((0, 0, 1, 4))
        self.hop_limit = random.choices(
            (64, 255, 2, 1, 0, random.randint(0, 255)), (20, 2, 2, 0.7, 0.2, 3)
        )[0]
        if self.protocol == ICMPV6 and 133 <= self.icmp_type <= 137:
            # What valid neighbour discovery does depends on its content: that is another test's.
            self.hop_limit = 64
        self.dont_fragment = random.random() < 0.5
        self.dscp = random.choices((0, 46, 10, 48, random.randint(0, 63)), (8, 1, 1, 1, 1))[0]
        self.fragment_offset, self.more_fragments = random.choices(
            ((0, False), (0, True), (1480, True), (1480, False), (8, False)), (20, 1, 1, 1, 0.3)
        )[0]
        self.link = random.choices(("router", "broadcast", "multicast"), (80, 1, 1))[0]
        self.length = self._length()

    def torn(self, number):
        """The packet as the first of a datagram's pieces, and another piece of it."""
        self.fragment_offset, self.more_fragments = 0, True
        later = copy.copy(self)
        later.number, later.first = number, self
        later.fragment_offset = self._random.choice((8, 1480))
        later.more_fragments = self._random.random() < 0.5
        self.length, later.length = self._length(), later._length() + 8
        later.length = min(later.length, max(self.interface.mtu, 56))
        return later

    def question(self, follows=True):
        """What to ask `explain`; a later piece has ports if it follows its first."""
        ports = not self.fragment_offset or (follows and self.first is not None)
        return {
            "input": self.interface.name,
            "src": self.src,
            "dst": self.dst,
            "protocol": self.protocol,
            "src_port": self.src_port if ports else 0,
            "dst_port": self.dst_port if ports else 0,
            "tcp_flags": self.tcp_flags,
            "icmp_type": self.icmp_type,
            "icmp_code": self.icmp_code,
            "hop_limit": self.hop_limit,
            "dscp": self.dscp,
            "length": self.length,
            "dont_fragment": self.dont_fragment,
            "fragment_offset": self.fragment_offset,
            "more_fragments": self.more_fragments,
            "link": self.link,
        }

    def frame(self, source, router):
        """The frame, from the station with the address `source` to the router's port."""
        to = {"router": router, "broadcast": _BROADCAST, "multicast": _GROUP}[self.link]
        vlan = self.interface.vlan
        tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
        kind = struct.pack("!H", 0x0800 if self.family == 4 else 0x86DD)
        return to + source + tag + kind + self.bytes(self.hop_limit)

    def bytes(self, hop_limit):
        """The IP packet, with this hop limit."""
        src, dst = (ipaddress.ip_address(a).packed for a in (self.src, self.dst))
        fragment = self.fragment_offset > 0 or self.more_fragments
        if self.family == 4:
            field = self.fragment_offset // 8 | self.more_fragments << 13 | self.dont_fragment << 14
            head = struct.pack(
                "!BBHHHBBH",
                *(0x45, self.dscp << 2, self.length, self.identification, field),
                *(hop_limit, self.protocol, 0),
            ) + src + dst
            head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
            payload = self.length - 20
        else:
            following = FRAGMENT if fragment else self.protocol
            head = struct.pack(
                "!IHBB",
                *(6 << 28 | self.dscp << 22 | self.number, self.length - 40),
                *(following, hop_limit),
            ) + src + dst
            payload = self.length - 40
            if fragment:
                field = self.fragment_offset | self.more_fragments
                head += struct.pack("!BBHI", self.protocol, 0, field, self.identification)
                payload -= 8
        return head + self._transport(payload, src, dst, fragment)

    def _transport(self, length, src, dst, fragment):
        if self.fragment_offset:
            number = b"" if self.first is None else struct.pack("!H", self.number)
            return (number + bytes(max(0, length)))[: max(0, length)]
        at = None  # where the checksum stands
        if self.protocol == TCP:
            sequence = self.number << 16
            header = struct.pack(
                "!HHIIBBHHH",
                *(self.src_port, self.dst_port, sequence, sequence),
                *(0x50, self.tcp_flags, 1000, 0, 0),
            )
            at = 16
        elif self.protocol in _WITH_PORTS:
            header = struct.pack("!HHHH", self.src_port, self.dst_port, length & 0xFFFF, 0)
            at = 6 if self.protocol == UDP else None
        elif self.protocol in (ICMP, ICMPV6):
            kind, code = self.icmp_type, self.icmp_code
            header = struct.pack("!BBHHH", kind, code, 0, self.src_port, self.number)
            at = 2
        else:
            header = b""
        body = (header + bytes(max(0, length - len(header))))[: max(0, length)]
        if at is None or len(body) < len(header) or fragment:
            return body
        pseudo = src + dst + struct.pack("!II", len(body), self.protocol)
        covered = body if self.protocol == ICMP else pseudo + body
        total = checksum(covered) or 0xFFFF
        return body[:at] + struct.pack("!H", total) + body[at + 2 :]

    # -- choices -----------------------------------------------------------------------------

    def _near(self, interface):
        """A host on an interface's link."""
        hosts = (*FIXED_HOSTS, 2, 3) if self.family == 6 else (*FIXED_HOSTS, 2, 3, 4, 5, 6)
        return interface.host(self.family, self._random.choice(hosts))

    def _source(self):
        random, four = self._random, self.family == 4
        kind = random.choices(("near", "far", "own", "odd", "local"), (40, 4, 0.4, 0.4, 0.7))[0]
        if kind == "far":
            return self._far()
        if kind == "own":
            return self._own()
        if kind == "odd":
            odd = ("0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.5", "240.0.0.1")
            return random.choice(odd if four else ("::", "::1", "ff02::1", "::ffff:10.1.0.2"))
        if kind == "local" and not four:
            return "fe80::2"
        return self._near(self.interface)

    def _destination(self):
        random, four = self._random, self.family == 4
        kind = random.choices(("near", "far", "own", "odd", "any"), (20, 20, 3, 1, 1))[0]
        others = [
            i for i in self._world.of(self.interface.instance) if self.family in i.families
        ]
        if kind == "near":
            return self._near(random.choice(others))
        if kind == "far":
            return self._far()
        if kind == "own":
            return self._own()
        if kind == "odd":
            if four:
                net = random.choice(others).net
                odd = (f"10.{net}.0.255", f"10.{net}.0.0", "255.255.255.255", "224.0.0.1")
                return random.choice((*odd, "239.1.1.1", "0.0.0.0", "127.0.0.1", "240.0.0.1"))
            odd = ("::", "::1", "ff02::1", "ff05::2", "ff01::1", "fe80::2", "fe80::99")
            return random.choice(odd)
        return "198.18.7.7" if four else "2001:db8:ffff::1"

    def _own(self):
        mine = [i for i in self._world.interfaces if self.family in i.families]
        return self._random.choice(mine).host(self.family, 1)

    def _far(self):
        """An address in a routed prefix, if there is one."""
        random = self._random
        known = self._world.prefixes[self.interface.instance]
        prefixes = [p for p in known if p.version == self.family and p.prefixlen > 0]
        if not prefixes:
            return "172.16.3.4" if self.family == 4 else "2001:db8::7"
        prefix = random.choice(prefixes)
        offset = random.randrange(min(prefix.num_addresses, 1 << 20))
        return str(prefix.network_address + offset)

    def _length(self):
        """Lengths around what counts: the headers, and the MTUs that there are."""
        random = self._random
        head = 20 if self.family == 4 else 40
        if self.family == 6 and (self.fragment_offset or self.more_fragments):
            head += 8
        least = head + _LEAST.get(self.protocol, 0)
        mtus = [i.mtu for i in self._world.interfaces]
        length = random.choices(
            (
                random.randint(least, least + 60),
                random.choice(mtus) + random.choice((-1, 0, 0, 1)),
                random.randint(least, PORT_MTU),
                random.randint(head, least),
                PORT_MTU + random.choice((1, 100)),
            ),
            (20, 4, 4, 0.6, 0.4),
        )[0]
        if length > self.interface.mtu and random.random() < 0.9:
            length = self.interface.mtu
        return max(length, head)


def checksum(data):
    """The Internet checksum."""
    if len(data) % 2:
        data += b"\0"
    # The one's complement sum is the residue modulo 65535, with 0 written as 65535.
    rest = int.from_bytes(data, "big") % 0xFFFF
    return 0xFFFF - rest if rest or not any(data) else 0
