"""Sends random packets through a running Sluice and holds it to what `explain` said."""

import collections
import json
import random
import time

from lab import Control, Sluice, worker_core
from lab.control import Refused

from .observe import Observer, joined
from .packets import Packet, checksum
from .worlds import PORT_MTU, PORTS, World, link_address

_PATIENCE = 20.0
# ICMP errors and resets of one worker, a second and at once: a little less than it grants.
_ERROR_RATE, _ERROR_BURST = 95, 48


class Trial:
    """A router with four wires; use it in a `with`, then `run`."""

    def __init__(self, lab, seed):
        self._seed = seed
        self._random = random.Random(seed)
        self._router = lab.namespace()
        # The wires carry more than the ports, so that a packet can be too large for its ingress.
        self._wires = {port: lab.wire(self._router, port, mtu=PORT_MTU + 1000) for port in PORTS}
        self._start = {"cores": [worker_core()], "memory": 256}
        self.sluice = Sluice(self._router, self._yaml(World(random.Random(0))))
        self._tokens, self._refilled = 0.0, time.monotonic()
        self.seen = collections.Counter()

    def __enter__(self):
        self.sluice.__enter__()
        self._control = Control(self.sluice.directory / "run")
        self._observer = Observer(self._wires, self._control)
        return self

    def __exit__(self, *failure):
        self._control.close()
        self.sluice.__exit__(*failure)

    def run(self, packets, of_each=250):
        """So many packets, in batches of one policy each."""
        for first in range(0, packets, of_each):
            self._batch(min(of_each, packets - first))

    def _yaml(self, world):
        return json.dumps({**world.configuration, "dataplane": self._start}, indent=1)

    def _batch(self, count):
        world = World(self._random)
        text = self._yaml(world)
        try:
            applied = self._control.apply(text)
        except Refused as refused:
            note = f"seed {self._seed}: a random policy is refused"
            raise AssertionError(f"{note}: {refused}") from None
        assert applied["waiting"] == [], applied
        down = self._random.choice(PORTS) if self._random.random() < 0.15 else None
        if down is not None:
            self._link(down, "down")
        interfaces = [i for i in world.interfaces if i.port != down]
        packets = []
        while len(packets) < count:
            interface = self._random.choice(interfaces)
            packet = Packet(len(packets) + 1, interface, self._random, world)
            packets.append(packet)
            if len(packets) < count and self._random.random() < 0.04:
                packets.append(packet.torn(len(packets) + 1))
        self._ask_and_send(world, packets, text)
        if down is not None:
            self._link(down, "up")

    def _link(self, port, state):
        """Takes a wire's far end down or up, and waits until the router knows."""
        self._wires[port].namespace.run("ip", "link", "set", "eth0", state)
        deadline = time.monotonic() + _PATIENCE
        while True:
            row = next(row for row in self._control.get("/v1/ports") if row["name"] == port)
            if row["link"] == (state == "up"):
                return
            assert time.monotonic() < deadline, f"port {port} is {state}, and nobody knows"

    def _ask_and_send(self, world, packets, text):
        """Asks about all packets at once, and sends them in chunks."""
        questions = [packet.question(follows) for packet in packets for follows in (True, False)]
        both = self._control.post("/v1/explain/many", questions)
        assert len(both) == 2 * len(packets)
        answers, of = [], {}
        for packet, following, alone in zip(packets, both[::2], both[1::2], strict=True):
            # Workers know of the first pieces alone that came as far as the route decision.
            known = packet.first is None or _steps(of[packet.first.number], "route")
            of[packet.number] = following if known else alone
            answers.append(of[packet.number])
        lines = text.splitlines()
        chunk, errors = [], 0
        for packet, said in zip(packets, answers, strict=True):
            self._positions_are_right(said, lines)
            answered = said["answer"] is not None and said["answer"]["message"] != "echo-reply"
            # A first is not long remembered: its other piece is sent together with it.
            ready = packet.first is None
            if ready and (len(chunk) >= 127 or errors + answered + 1 > _ERROR_BURST):
                self._send(world, chunk, errors)
                chunk, errors = [], 0
            chunk.append((packet, said))
            errors += answered
        self._send(world, chunk, errors)

    def _send(self, world, chunk, errors):
        """Sends a few packets, waits until all is quiet, and compares."""
        if not chunk:
            return
        self._wait_for_tokens(errors)
        self._observer.begin(_PATIENCE)
        rules, drops, steered = self._rules(), self._drops(), self._steered()
        for packet, _ in chunk:
            wire = self._wires[packet.interface.port]
            source = bytes.fromhex(link_address(packet.src).replace(":", ""))
            router = bytes.fromhex(wire.peer.replace(":", ""))
            wire.send(packet.frame(source, router))
        frames = self._observer.finish(len(chunk), _PATIENCE)
        self._refilled = time.monotonic()
        try:
            self._compare(world, chunk, frames)
            expected = _tally(chunk)
            _same("drop reasons", expected.drops, self._drops() - drops, chunk)
            _same("rules", expected.rules, self._rules() - rules, chunk)
            _same("policy routes", expected.steered, self._steered() - steered, chunk)
        except AssertionError as error:
            note = f"seed {self._seed}, generation {chunk[0][1]['generation']}"
            raise AssertionError(f"{note}: {error}") from None
        self.seen.update((said["verdict"], said.get("reason")) for _, said in chunk)

    def _wait_for_tokens(self, errors):
        """The router says only so much in a second: waits until it can say this."""
        now = time.monotonic()
        self._tokens += (now - self._refilled) * _ERROR_RATE
        self._tokens, self._refilled = min(self._tokens, _ERROR_BURST), now
        if self._tokens < errors:
            time.sleep((errors - self._tokens) / _ERROR_RATE)
            self._tokens, self._refilled = errors, time.monotonic()
        self._tokens -= errors

    def _compare(self, world, chunk, frames):
        """Each packet came out where, and as, it was said; and nothing else did."""
        wanted = collections.defaultdict(list)
        for packet, said in chunk:
            if said["verdict"] == "accept":
                wanted[packet.number].append(_exit(world, said, "forwarded", packet))
            answer = said["answer"]
            if answer is not None and answer["verdict"] == "accept":
                wanted[packet.number].append(_exit(world, answer, answer["message"], packet))
        packets = {packet.number: packet for packet, _ in chunk}
        cut = {packet.number: _fragments(said) for packet, said in chunk}
        came = collections.defaultdict(list)
        for frame in joined(frames, lambda number: cut.get(number, 1)):
            packet = packets.get(frame.number)
            assert packet is not None, f"a frame that belongs to no packet: {frame}"
            kind = frame.kind_of(packet)
            came[packet.number].append((kind, frame.port, frame.vlan, frame.destination))
            if kind == "forwarded":
                _unchanged(frame, packet)
        for packet, said in chunk:
            expected, seen = sorted(wanted[packet.number]), sorted(came[packet.number])
            assert expected == seen, (
                f"packet {packet.question()}: explain said {expected}, the wire has {seen}\n{said}"
            )

    def _positions_are_right(self, said, lines):
        """A rule's line is where the file has the rule."""
        for rule in (said["rule"], *said["policy_routes"]):
            if rule is not None and rule["position"] is not None:
                line = rule["position"]["line"]
                near = lines[line - 1 : line + 2]
                assert any(f'"{rule["name"]}"' in text for text in near), (rule, near)

    def _rules(self):
        return collections.Counter({
            (row["instance"], row["point"], row["name"]): row["packets"]
            for row in self._control.get("/v1/rules")
        })

    def _steered(self):
        return collections.Counter({
            (row["instance"], row["name"]): row["packets"]
            for row in self._control.get("/v1/policy-routes")
        })

    def _drops(self):
        return collections.Counter({
            row["reason"]: row["packets"] for row in self._control.get("/v1/drops?all=true")
        })


class _Expected:
    def __init__(self):
        self.drops, self.rules = collections.Counter(), collections.Counter()
        self.steered = collections.Counter()

    def add(self, way, instance):
        """What a way adds to the counters."""
        if way["verdict"] in ("drop", "reject"):
            self.drops[way["reason"]] += 1
        for row in way["policy_routes"]:
            self.steered[instance, row["name"]] += 1
        for step in way["steps"]:
            point = step["stage"].removesuffix("-filter")
            for rule in step["rules"]:
                self.rules[instance, point, rule["name"]] += 1


def _steps(way, stage):
    """Whether a packet comes to a stage."""
    return any(step["stage"] == stage for step in way["steps"])


def _tally(chunk):
    expected = _Expected()
    for _, said in chunk:
        expected.add(said, said["instance"])
        if said["answer"] is not None:
            expected.add(said["answer"], said["instance"])
    return expected


def _same(what, expected, counted, chunk):
    if +expected == +counted:
        return
    raise AssertionError(
        f"{what}: said and not counted {dict(expected - counted)}, "
        f"counted and not said {dict(counted - expected)}, among {len(chunk)} packets from "
        f"{chunk[0][0].question()} on"
    )


def _fragments(said):
    """How many frames a packet, or the answer to it, leaves as. One may be refused behind the stage
    that says so."""
    ways = (way for way in (said, said["answer"]) if way and way["verdict"] == "accept")
    return max((way.get("fragments") or 1 for way in ways), default=1)


def _exit(world, way, kind, packet):
    """Where explain says that a packet leaves, and to whom."""
    interface = next(i for i in world.interfaces if i.name == way["egress"])
    mac = way["next_hop_state"]["mac"]
    # Who is not known yet is asked for, and answers.
    mac = mac or link_address(way["next_hop"])
    return (kind, interface.port, interface.vlan, mac)


def _unchanged(frame, packet):
    """Nothing but the hop limit has changed, and the header checksum with it."""
    wanted, ip = packet.bytes((packet.hop_limit - 1) & 0xFF), frame.ip
    if packet.family == 4:
        assert checksum(ip[:20]) == 0, f"{frame}: header checksum"
        wanted, ip = wanted[:10] + wanted[12:], ip[:10] + ip[12:]
    assert wanted == ip, f"{packet.question()} left as {ip.hex()}, not {wanted.hex()}"
