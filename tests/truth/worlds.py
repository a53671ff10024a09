"""Random policies."""

import ipaddress

PORTS = ("p1", "p2", "p3", "p4")
PORT_MTU = 2000
_VLANS = (10, 20, 30)
_INSTANCES = ("default", "red", "blue")
# Tables beside `main` that every instance has.
_TABLES = ("near", "far")
# Hosts of a connected network whose link address is configured; other IPv4 hosts are asked for.
FIXED_HOSTS = (2, 3, 4)

_PROTOCOLS = ("tcp", "udp", "icmp", "icmpv6", "sctp", "gre", "ospf", "udplite", "dccp", 99)
_TCP_FLAGS = ("syn", "ack", "fin", "rst", "psh", "!syn", "!ack", "!rst", "syn,!ack", "syn,ack")
_ICMP_TYPES = ("echo-request", "echo-reply", "time-exceeded", 3, "3/1", 8, 11, 13, "3/4")
_ICMP6_TYPES = ("packet-too-big", 1, "1/4", 128, "129/0", "time-exceeded", 3, 135, 140)


class Interface:
    """A port or a VLAN on one, as a world has it."""

    def __init__(self, port, vlan, instance, net, mtu, families):
        self.port, self.vlan, self.instance, self.net, self.mtu = port, vlan, instance, net, mtu
        self.families = families

    @property
    def name(self):
        return self.port if self.vlan is None else f"{self.port}.{self.vlan}"

    def host(self, family, number):
        """The address of a host on the link; 1 is the router."""
        return f"10.{self.net}.0.{number}" if family == 4 else f"fd00:{self.net:x}::{number:x}"

    @property
    def addresses(self):
        lengths = {4: 24, 6: 64}
        return [f"{self.host(family, 1)}/{lengths[family]}" for family in self.families]


class World:
    """One random policy: `configuration` is what to apply."""

    def __init__(self, random):
        self._random = random
        self.interfaces = self._make_interfaces()
        self.prefixes = {name: [] for name in _INSTANCES}
        self._names = 0
        self.configuration = {"dataplane": None, "ports": self._ports(), "instances": {}}
        for name in _INSTANCES:
            stack = self._stack(name)
            if name == "default":
                self.configuration.update(stack)
            else:
                self.configuration["instances"][name] = stack
        self.configuration["neighbours"] = self._neighbours()

    def of(self, instance):
        """The interfaces of an instance."""
        return [i for i in self.interfaces if i.instance == instance]

    def _make_interfaces(self):
        random, interfaces, used = self._random, [], {name: set() for name in _INSTANCES}
        for port in PORTS:
            vlans = [None, *random.sample(_VLANS, random.randint(0, 2))]
            for vlan in vlans:
                instance = random.choices(_INSTANCES, (6, 2, 2))[0]
                # Instances may have the same networks; within one, each is there once.
                net = random.choice(sorted(set(range(1, 15)) - used[instance]))
                used[instance].add(net)
                families = random.choices(((4, 6), (4,), (6,)), (8, 1, 1))[0]
                mtu = PORT_MTU
                if vlan is not None:
                    least = 1280 if 6 in families else 300
                    mtu = random.choice((PORT_MTU, 1500, random.randint(least, PORT_MTU), least))
                interfaces.append(Interface(port, vlan, instance, net, mtu, families))
        return interfaces

    def _ports(self):
        ports = {}
        for place, port in enumerate(PORTS):
            entry = {
                "device": f"net_af_packet{place},iface={port}",
                "mtu": PORT_MTU,
                "checksum": "verify" if place % 2 else "trust",
                "vlans": {},
            }
            for interface in self.interfaces:
                if interface.port != port:
                    continue
                fields = {"instance": interface.instance, "addresses": interface.addresses}
                if interface.vlan is None:
                    entry.update(fields)
                else:
                    entry["vlans"][interface.vlan] = {"mtu": interface.mtu, **fields}
            if not entry["vlans"]:
                del entry["vlans"]
            ports[port] = entry
        return ports

    def _neighbours(self):
        entries = []
        for interface in self.interfaces:
            for family in interface.families:
                addresses = [interface.host(family, number) for number in FIXED_HOSTS]
                if family == 6:
                    addresses.append("fe80::2")
                entries += [
                    {"interface": interface.name, "address": address, "mac": link_address(address)}
                    for address in addresses
                ]
        return entries

    def _stack(self, instance):
        stack = {"tables": list(_TABLES), "routes": self._routes(instance)}
        if policy_routes := self._policy_routes(instance):
            stack["policy-routes"] = policy_routes
        filters = {
            point: made
            for point in ("ingress", "forward", "egress")
            if (made := self._filter(instance, point)) is not None
        }
        if filters:
            stack["filters"] = filters
        random = self._random
        if random.random() < 0.3:
            forwarding = ["forward-filter", "hop-limit", "mtu"]
            random.shuffle(forwarding)
            if random.random() < 0.3:
                forwarding.remove("forward-filter")
            stack["pipeline"] = {"forwarding": forwarding}
            if random.random() < 0.3:
                stack["pipeline"]["physical-in"] = []
            if random.random() < 0.3:
                stack["pipeline"]["physical-out"] = []
        return stack

    # -- routes ------------------------------------------------------------------------------

    def _routes(self, instance):
        routes, seen = [], set()
        for family in (4, 6):
            exits = [i for i in self.of(instance) if family in i.families]
            for _ in range(self._random.randint(0, 9)):
                table = self._random.choices(("main", *_TABLES), (6, 1, 1))[0]
                prefix = self._prefix(family)
                if (table, prefix) in seen:
                    continue
                seen.add((table, prefix))
                target = self._target(family, exits, routes) or self._lookup(instance, table)
                if table != "main":
                    target["table"] = table
                target |= {"preference": self._random.randint(0, 255), "tag": len(routes)}
                routes.append({"to": str(prefix), **target})
                self.prefixes[instance].append(prefix)
        return routes

    def _lookup(self, instance, table):
        """On in another table. Nothing that the file shows leads round: numbers only grow."""
        order = [(name, other) for other in ("main", *_TABLES) for name in _INSTANCES]
        later = order[order.index((instance, table)) + 1 :]
        if not later:
            return {"prohibit": True}
        name, other = self._random.choice(later)
        return {"lookup": {"instance": name, "table": other}}

    def _prefix(self, family):
        random = self._random
        if random.random() < 0.15:
            return ipaddress.ip_network("0.0.0.0/0" if family == 4 else "::/0")
        if family == 4:
            base = random.choice(("172.16.0.0", "172.16.64.0", "192.0.2.0", "100.64.0.0"))
            length = random.choice((8, 12, 16, 18, 20, 23, 24, 25, 28, 30, 32))
        else:
            base = random.choice(("2001:db8::", "2001:db8:1::", "2001:db8:1:8000::", "fd99::"))
            length = random.choice((16, 32, 40, 48, 49, 56, 64, 80, 100, 127, 128))
        address = int(ipaddress.ip_address(base)) + random.randint(0, 1 << 10)
        return ipaddress.ip_network((address, length), strict=False)

    def _target(self, family, exits, routes):
        random = self._random
        kinds = ("via", "spread", "behind", "blackhole", "reject", "prohibit", "lookup")
        kind = random.choices(kinds, (5, 4, 2, 1, 1, 1, 2))[0]
        if kind in ("blackhole", "reject", "prohibit"):
            return {kind: True}
        if kind == "lookup" or not exits:
            return None
        if kind == "via":
            return {"via": self._hop(family, random.choice(exits))}
        if kind == "behind":
            return self._behind(family, exits, routes)
        hops = {}
        for _ in range(random.randint(2, 4)):
            hop = self._hop(family, random.choice(exits))
            hops[hop] = {"address": hop, "weight": random.randint(1, 5)}
        return {"via": list(hops.values())}

    def _behind(self, family, exits, routes):
        """A next hop that is behind one to three routes, which are added to `routes`."""
        random = self._random
        address = self._hop(family, random.choice(exits))
        for _ in range(random.randint(1, 3)):
            number = len(routes)
            network = f"198.18.{number}.0/24" if family == 4 else f"fd98:{number:x}::/64"
            hops = {address, self._hop(family, random.choice(exits))}
            target = {"blackhole": True} if random.random() < 0.1 else {"via": sorted(hops)}
            routes.append({"to": network, **target})
            address = str(ipaddress.ip_network(network)[random.randint(1, 250)])
        return {"via": address}

    def _hop(self, family, interface):
        return interface.host(family, self._random.choice(FIXED_HOSTS))

    # -- policy routes -----------------------------------------------------------------------

    def _policy_routes(self, instance):
        random = self._random
        if random.random() < 0.5:
            return []
        return [self._policy_route(instance) for _ in range(random.randint(1, 6))]

    def _policy_route(self, instance):
        random = self._random
        self._names += 1
        rule = {"name": f"p{self._names}"}
        families = random.choice(((4,), (6,), (4, 6)))
        names = [i.name for i in self.of(instance)]
        if names and random.random() < 0.25:
            rule["in"] = random.sample(names, random.randint(1, min(2, len(names))))
        for side in ("source", "destination"):
            if random.random() < 0.3:
                rule[side] = [self._network(family, instance) for family in families]
        if random.random() < 0.6:
            rule["protocol"] = random.sample(("tcp", "udp", "sctp", "dccp"), random.randint(1, 3))
            if random.random() < 0.8:
                side = random.choice(("source-port", "destination-port"))
                rule[side] = self._ports_list()
        if random.random() < 0.2:
            rule["dscp"] = random.choice((["ef"], [0], [10, "cs6"]))
        if random.random() < 0.2:
            rule["fragment"] = random.random() < 0.5
        kinds = ("via", "table", "drop", "reject")
        kind = random.choices(kinds, (6, 4, 1, 1))[0]
        hops = [
            self._hop(family, exit)
            for family in families
            for exit in random.sample(self.of(instance), k=min(2, len(names)))
            if family in exit.families
        ]
        if kind == "via" and hops:
            rule["via"] = sorted(set(hops))
        elif kind in ("drop", "reject"):
            return rule | {kind: True}
        else:
            rule["table"] = random.choice(("main", *_TABLES))
        return rule | {"unreachable": random.choices(("next", "drop", "reject"), (3, 1, 1))[0]}

    # -- filters -----------------------------------------------------------------------------

    def _filter(self, instance, point):
        random = self._random
        if random.random() < 0.35:
            return None
        default = random.choices(("accept", "drop", "reject"), (30, 1, 1))[0]
        rules = [self._rule(instance, point) for _ in range(random.randint(0, 8))]
        return {"default": default, "rules": rules}

    def _rule(self, instance, point):
        random = self._random
        action = random.choices(("accept", "drop", "reject", "count"), (5, 1, 0.5, 5))[0]
        self._names += 1
        rule = {"name": f"r{self._names}", "action": action}
        kind = random.choices(("any", "protocol", "ports", "flags", "icmp"), (4, 3, 5, 3, 3))[0]
        # A rule that can match nothing is refused: its networks and its protocol are of one kind.
        families = random.choice(((4,), (6,), (4, 6)))
        if kind == "icmp":
            families = random.choice(((4,), (6,)))
        names = [i.name for i in self.of(instance)]
        if names and random.random() < 0.25:
            rule["in"] = random.sample(names, random.randint(1, min(2, len(names))))
        if names and point != "ingress" and random.random() < 0.25:
            rule["out"] = random.sample(names, random.randint(1, min(2, len(names))))
        for side in ("source", "destination"):
            if random.random() < 0.3:
                nets = [*families, *random.choices(families, k=random.randint(0, 2))]
                rule[side] = [self._network(family, instance) for family in nets]
        if kind == "protocol":
            wrong = {(4,): "icmpv6", (6,): "icmp"}.get(families)
            possible = [protocol for protocol in _PROTOCOLS if protocol != wrong]
            rule["protocol"] = random.sample(possible, random.randint(1, 3))
        elif kind == "ports":
            rule["protocol"] = random.sample(("tcp", "udp", "sctp", "dccp"), random.randint(1, 3))
            both = ("source-port", "destination-port")
            for side in random.choice((both[:1], both[1:], both[1:], both)):
                rule[side] = self._ports_list()
        elif kind == "flags":
            rule["tcp-flags"] = random.choice(_TCP_FLAGS)
        elif kind == "icmp":
            rule["protocol"] = "icmp" if families == (4,) else "icmpv6"
            types = _ICMP_TYPES if families == (4,) else _ICMP6_TYPES
            rule["icmp-type"] = random.sample(types, random.randint(1, 2))
        return rule

    def _ports_list(self):
        random, ranges = self._random, []
        for _ in range(random.randint(1, 3)):
            first = random.choice((0, 22, 53, 80, 443, 1024, 5000, 40000))
            last = min(65535, first + random.choice((0, 0, 1, 100, 30000)))
            ranges.append(first if first == last else f"{first}-{last}")
        return ranges

    def _network(self, family, instance):
        """A network that packets are likely to lie in."""
        random = self._random
        near = [i for i in self.of(instance) if family in i.families]
        if near and random.random() < 0.7:
            address = random.choice(near).host(family, random.choice((1, 2, 3, 4, 5)))
            length = random.choice((16, 24, 30, 31, 32) if family == 4 else (32, 48, 64, 126, 128))
        else:
            address = "172.16.0.0" if family == 4 else "2001:db8::"
            length = random.choice((0, 8, 12, 17, 24) if family == 4 else (0, 16, 32, 48, 64))
        return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def link_address(address):
    """The link address of the station that has an IP address: any station has it."""
    number = int(ipaddress.ip_address(address))
    folded = (number ^ number >> 32 ^ number >> 64 ^ number >> 96) & 0xFFFFFFFF
    return "02:5e:" + ":".join(f"{byte:02x}" for byte in folded.to_bytes(4, "big"))
