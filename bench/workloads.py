"""Packets and policies that benchmarks share: captures of flows, and configurations of Sluice."""

import random
import socket
import struct

FLOWS = 1024
PCAP_MAC = bytes([0x02, 0x70, 0x63, 0x61, 0x70, 0x00])
GENERATED = "net_null0,size=60"
SINK = "net_null1,no-rx=1"
# MiB of a forwarder, and the buffers that are in it: Sluice's pool is a quarter of its memory.
MEMORY, MBUFS = 128, 8192

# What a packet has to go through in the row "stateful": rules ahead of the one that lets it pass.
RULES = 10


def flows_pcap(path, flows, family=4):
    """Writes a UDP packet of each flow, as small as they come: 60 bytes of IPv4 (64 with the frame
    check sequence), 62 of IPv6. Flow n has port n mod 2^16; its destination goes along."""
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for n in range(flows):
            frame = PCAP_MAC + bytes.fromhex("020000000099") + (_ipv4(n) if family == 4 else _ipv6(n))
            out.write(struct.pack("<IIII", 0, n, len(frame), len(frame)) + frame)


def _checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ipv4(n):
    addresses = bytes([10, 0, n >> 16, 2]) + bytes([10, 1, n >> 8 & 255, n & 255])
    fields = struct.pack("!BBHHHBB", 0x45, 0, 46, n & 0xFFFF, 0x4000, 64, 17)
    head = fields + struct.pack("!H", _checksum(fields + bytes(2) + addresses)) + addresses
    return b"\x08\x00" + head + struct.pack("!HHHH", n & 0xFFFF, 9, 26, 0) + bytes(18)


def _ipv6(n):
    addresses = socket.inet_pton(socket.AF_INET6, f"fd00::{(n >> 16) + 2:x}")
    addresses += socket.inet_pton(socket.AF_INET6, f"fd01::{n & 0xFFFF:x}")
    udp = struct.pack("!HHH", n & 0xFFFF, 9, 8)
    sum_ = _checksum(addresses + struct.pack("!II", 8, 17) + udp + bytes(2)) or 0xFFFF
    return b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, 8, 17, 64) + addresses + udp + struct.pack("!H", sum_)


def pcap_device(number, path):
    return f"net_pcap{number},rx_pcap={path},infinite_rx=1"


def configuration(device, *, cores=(1,), memory=MEMORY, queues=1, out=SINK, flows=None, more=""):
    """A router from `device` to `out`, whose neighbour is known; `more` is YAML for its end."""
    queue = f", queues: {queues}" if queues > 1 else ""
    limits = f", limits: {{ flows: {flows} }}" if flows else ""
    text = (
        f"dataplane: {{ cores: {list(cores)}, memory: {memory}{limits} }}\n"
        "ports:\n"
        f'  in: {{ device: "{device}", addresses: [10.0.0.1/16, "fd00::1/64"]{queue} }}\n'
        f'  out: {{ device: "{out}", addresses: [10.2.0.1/16, "fd02::1/64"] }}\n'
        "neighbours:\n"
        '  - { interface: out, address: 10.2.0.2, mac: "02:00:00:00:00:42" }\n'
        '  - { interface: out, address: "fd02::2", mac: "02:00:00:00:00:42" }\n')
    return text + more


# -- policy ------------------------------------------------------------------------------------


def routes(count=1, seed=1):
    """The routes that the packets take, and others: `count` in all, for the file."""
    lines = ['  - { to: 10.1.0.0/16, via: 10.2.0.2 }\n', '  - { to: "fd01::/16", via: "fd02::2" }\n']
    lines += [f"  - {{ to: {prefix}, via: {via} }}\n" for prefix, via in other_routes(max(count - 1, 0), seed)]
    return "routes:\n" + "".join(lines)


# Of a thousand prefixes, how many have which length: about what BGP tables have.
LENGTHS = {24: 600, 23: 100, 22: 110, 21: 50, 20: 45, 19: 32, 18: 18, 17: 12, 16: 28, 15: 3, 14: 2}


def other_routes(count, seed=1, hosts=16):
    """So many different prefixes that no packet of the benchmarks is sent to, each with a next hop."""
    random_ = random.Random(seed)
    prefixes = set()
    for length in random_.choices(list(LENGTHS), LENGTHS.values(), k=count):
        while True:
            number = random_.randrange(1 << 24, 224 << 24) >> (32 - length) << (32 - length)
            if number >> 24 not in (10, 127) and (number, length) not in prefixes:
                prefixes.add((number, length))
                break
    return [
        (f"{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}/{length}", f"10.2.0.{2 + random_.randrange(hosts)}")
        for n, length in sorted(prefixes)
    ]


def _rules(count, seed=2):
    """Rules that match no packet of the benchmarks: protocol, network, port, action."""
    random_ = random.Random(seed)
    for _ in range(count):
        first = random_.choice([n for n in range(1, 224) if n != 10])
        network = f"{first}.{random_.randrange(256)}.{random_.randrange(256)}.0/24"
        yield random_.choice(["tcp", "udp"]), network, random_.randrange(10, 60000), random_.choice(["accept", "drop"])


def acl_rules(count):
    """The rules of `filters` in the form of ClassBench."""
    for protocol, network, port, _ in _rules(count - 1):
        yield f"@0.0.0.0/0 {network} 0 : 65535 {port} : {port} {6 if protocol == 'tcp' else 17}/0xff\n"
    yield "@0.0.0.0/0 10.1.0.0/16 0 : 65535 0 : 65535 17/0xff\n"


def filters(count=RULES, *, stateful=True, last="accept"):
    """`count` rules ahead of a forwarded packet, of which none matches it but the last."""
    lines = [
        f"      - {{ name: r{n}, protocol: {protocol}, destination: {network}, destination-port: {port}, action: {action} }}\n"
        for n, (protocol, network, port, action) in enumerate(_rules(count - 1))]
    lines.append(f'      - {{ name: last, protocol: [udp, tcp], destination: [10.1.0.0/16, "fd01::/16"], action: {last} }}\n')
    keyword = "    stateful: true\n" if stateful else ""
    return f"filters:\n  forward:\n{keyword}    default: drop\n    rules:\n" + "".join(lines)


def policy_routes(count, seed=3):
    """So many policy routes, none of which matches a packet of the benchmarks."""
    random_ = random.Random(seed)
    return "policy-routes:\n" + "".join(
        f"  - {{ name: p{n}, in: in, protocol: tcp, source: 10.0.{random_.randrange(256)}.0/24, "
        f"destination-port: {random_.randrange(10, 60000)}, via: 10.2.0.2 }}\n"
        for n in range(count))
