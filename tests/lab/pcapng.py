"""Reads the files of `sluice capture` (pcapng, big-endian, one section)."""

import collections
import struct

Captured = collections.namedtuple("Captured", "interface time_ns length data comment flags")

_COMMENT, _FLAGS, _NAME, _RESOLUTION, _DROPPED = 1, 2, 2, 9, 5


class File:
    """What stands in a file: `.interfaces` by number, `.packets`, `.missed` if it is complete."""

    def __init__(self, content):
        self.interfaces, self.packets, self.missed = [], [], None
        while content:
            kind, length = struct.unpack(">II", content[:8])
            assert struct.unpack(">I", content[length - 4 : length])[0] == length, "a block is cut"
            body, content = content[8 : length - 4], content[length:]
            if kind == 1:
                options = _options(body[8:])
                assert options[_RESOLUTION] == b"\x09", "nanoseconds"
                self.interfaces.append(options[_NAME].decode())
            elif kind == 6:
                self.packets.append(self._packet(body))
            elif kind == 5 and _DROPPED in (options := _options(body[12:])):
                self.missed = int.from_bytes(options[_DROPPED], "big")

    def _packet(self, body):
        number, high, low, captured, length = struct.unpack(">5I", body[:20])
        options = _options(body[20 + captured + -captured % 4 :])
        comment = dict(word.split("=") for word in options[_COMMENT].decode().split())
        flags = int.from_bytes(options.get(_FLAGS, b""), "big")
        time_ns, data = high << 32 | low, body[20 : 20 + captured]
        return Captured(self.interfaces[number], time_ns, length, data, comment, flags)


def _options(content):
    found = {}
    while len(content) >= 4:
        code, length = struct.unpack(">HH", content[:4])
        if code == 0:
            break
        found[code] = content[4 : 4 + length]
        content = content[4 + length + -length % 4 :]
    return found
