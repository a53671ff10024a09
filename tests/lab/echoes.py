"""Echo requests one after the other, for hooks of which it is known what they drop."""

import socket
import struct

from .control import Control


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def echoes(host, address, count, settled, patience=10):
    """Pings one after the other, each when what came of the one before is known: its answer is
    here, or, of every fiftieth, has been dropped on its way. The number of answers."""
    answers = 0
    icmp = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with host.entered(), socket.socket(*icmp) as ping:
        ping.settimeout(patience)
        ping.connect((address, 0))
        for number in range(1, count + 1):
            echo = struct.pack("!BBHHH", 8, 0, 0, 0x5ca1, number)
            ping.send(echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:])
            if number % 50 == 0:
                settled(2 * number)
                continue
            while True:
                reply = ping.recv(128)[20:]
                if reply[0] == 0 and struct.unpack("!HH", reply[4:8]) == (0x5ca1, number):
                    break
            answers += 1
    return answers


def through_hook(sluice, host, address, count, name):
    """Pings so often through a hook that drops at most every fiftieth packet: the hook's row as
    `/v1/hooks` then has it, and the number of answers."""
    with Control(sluice.directory / "run").closing() as control:

        def row():
            return next(row for row in control.get("/v1/hooks")["hooks"] if row["name"] == name)

        def settled(packets):
            assert sluice.wait_until(lambda: row()["packets"] == packets, 10), row()

        answers = echoes(host, address, count, settled)
        return row(), answers
