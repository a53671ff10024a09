/*
 * Hooks of Sluice in C. Made of dataplane/hooks/src/abi/types.rs: do not edit.
 *
 * A hook is a shared object that exports `sluice_hook_program`:
 *
 *     cc -shared -fPIC -O2 -Iinclude -o mine.so mine.c
 *     sluice hook load ./mine.so --event physical-in
 *
 * docs/c-hooks.md says how, and what a shared object can break.
 */

#ifndef SLUICE_HOOK_H
#define SLUICE_HOOK_H

#include <stddef.h>
#include <stdint.h>

struct sluice_packet;

// The version of this interface.
#define SLUICE_HOOK_ABI 1

// The packet goes on to the next hook.
#define SLUICE_CONTINUE 0

// The packet is dropped.
#define SLUICE_DROP 1

// The packet's way ends here without being a drop.
#define SLUICE_CONSUMED 2

// The packet is dropped, and the counter at place N of `counters`, which is the reason, counts it:
// return `SLUICE_DROP_AS + N`.
#define SLUICE_DROP_AS 16

// Events, as bits of `events` and as `event()` answers.
#define SLUICE_OBSERVING 1

// Received and valid.
#define SLUICE_PHYSICAL_IN 2

// Came from another instance.
#define SLUICE_LOOPBACK_IN 4

// Goes to another instance.
#define SLUICE_LOOPBACK_OUT 8

// The next hop is chosen.
#define SLUICE_ROUTE_DECISION 16

// In by one interface, out by another.
#define SLUICE_FORWARDING 32

// Just before the port.
#define SLUICE_PHYSICAL_OUT 64

// Protocols, as `protocol()` answers.
#define SLUICE_INET 4

// IPv6.
#define SLUICE_INET6 6

// ARP.
#define SLUICE_ARP 1

// `flags` of a program: it changes nothing and decides nothing. OBSERVING takes no other.
#define SLUICE_READ_ONLY 1

// `flags` of a program: the first packet of each direction of a flow is enough.
#define SLUICE_FIRST_OF_FLOW 2

// No interface.
#define SLUICE_NO_INTERFACE -1

// Not so many bytes.
#define SLUICE_SHORT -1

// No room for so many bytes.
#define SLUICE_NO_ROOM -2

// The packet is only to be looked at, or has been taken.
#define SLUICE_READ_ONLY_PACKET -3

// There is none.
#define SLUICE_NOT_FOUND -4

// An argument is not what it can be.
#define SLUICE_INVALID -5

// Too many wait.
#define SLUICE_FULL -6

// The address is no packet's that this file holds: it was given back, or never lent.
#define SLUICE_NOT_HELD -7

// Ways are chosen at ROUTE_DECISION.
#define SLUICE_NOT_HERE -8

// No route of the policy leads there.
#define SLUICE_NO_ROUTE -9

// Nothing may go that way: its port is down, it is the router itself, or the policy refuses it.
#define SLUICE_REFUSED -10

// The most packets that a burst has.
#define SLUICE_BURST 64

// The bytes of the name of a route's owner, with the 0 that ends it.
#define SLUICE_OWNER 24

// As if received by the interface.
#define SLUICE_QUEUE_IN 1

// As a packet of the router's own.
#define SLUICE_QUEUE_OUT 2

// Out of the interface to the next hop, as it is.
#define SLUICE_DIRECT_OUT 3

// An address of IPv4 or IPv6.
struct sluice_address {
    // 4 or 6; of IPv4, the first four bytes count.
    uint8_t version;
    // In network order.
    uint8_t bytes[16];
};

// The five-tuple; ports in the host's order.
struct sluice_tuple {
    // Where it comes from.
    struct sluice_address source;
    // Where it goes.
    struct sluice_address destination;
    // Of TCP, UDP, SCTP and DCCP; the identifier of an ICMP echo; else 0.
    uint16_t source_port;
    // Of TCP, UDP, SCTP and DCCP; else 0.
    uint16_t destination_port;
    // The protocol of layer 4.
    uint8_t protocol;
};

// A packet that the hook holds: taken, copied or made. It is the hook's until it is injected, put
// into another's place or freed; what is left when the file is unloaded is freed and told.
typedef uint64_t sluice_owned;

// A route.
struct sluice_route {
    // The first of the destinations that it covers.
    struct sluice_address prefix;
    // The bits of `prefix` that count.
    uint8_t length;
    // The number of its table.
    int32_t table;
    // Who put it there (`static`, `bgp`, …), as text that ends with a 0.
    char owner[SLUICE_OWNER];
};

// What can be done with packets. Functions that return an `int32_t` return 0 or more when it is done.
struct sluice_calls {
    // SLUICE_HOOK_ABI.
    uint32_t abi;
    // The size of this table.
    uint32_t size;
    // Cycles a second of `now`.
    uint64_t hertz;
    // The bytes from the IP header on, as far as they are in the first buffer: all headers are.
    const uint8_t *(*bytes)(const struct sluice_packet *packet, size_t *length);
    // The same, to be changed: the packet is decoded again when the hook is done. NULL if it is only
    // to be looked at.
    uint8_t *(*bytes_mut)(struct sluice_packet *packet, size_t *length);
    // Bytes of the packet, over all buffers.
    size_t (*length)(const struct sluice_packet *packet);
    // Copies bytes out, across buffers.
    int32_t (*read)(const struct sluice_packet *packet, size_t offset, void *out, size_t length);
    // Copies bytes in, across buffers.
    int32_t (*write)(struct sluice_packet *packet, size_t offset, const void *bytes, size_t length);
    // Has the first `length` bytes in the first buffer.
    int32_t (*pull_up)(struct sluice_packet *packet, size_t length);
    // Makes it longer in front; the new bytes, or NULL without the room.
    uint8_t *(*push)(struct sluice_packet *packet, size_t length);
    // Cuts bytes off the front.
    int32_t (*pop)(struct sluice_packet *packet, size_t length);
    // Makes it longer at the end; the new bytes, or NULL without the room.
    uint8_t *(*append)(struct sluice_packet *packet, size_t length);
    // Cuts it to at most `length` bytes.
    int32_t (*truncate)(struct sluice_packet *packet, size_t length);
    // Puts all checksums in anew.
    int32_t (*write_checksums)(struct sluice_packet *packet);
    // The event.
    uint32_t (*event)(const struct sluice_packet *packet);
    // SLUICE_INET, SLUICE_INET6 or SLUICE_ARP.
    uint32_t (*protocol)(const struct sluice_packet *packet);
    // The interface that it came in by, or SLUICE_NO_INTERFACE.
    int32_t (*ingress)(const struct sluice_packet *packet);
    // The interface that it is to leave by, or SLUICE_NO_INTERFACE.
    int32_t (*egress)(const struct sluice_packet *packet);
    // At PHYSICAL_IN: 1 if it was sent to a multicast link address, 2 to the broadcast one.
    uint32_t (*link_group)(const struct sluice_packet *packet);
    // The five-tuple; SLUICE_NOT_FOUND for ARP.
    int32_t (*tuple)(const struct sluice_packet *packet, struct sluice_tuple *tuple);
    // The number that an earlier hook left under a key.
    int32_t (*note)(const struct sluice_packet *packet, uint32_t key, uint64_t *value);
    // Leaves a number under a key.
    int32_t (*set_note)(struct sluice_packet *packet, uint32_t key, uint64_t value);
    // The key of a name, or SLUICE_FULL; asked for when the hook is made, and the same in all hooks.
    int32_t (*note_key)(const char *name);
    // Adds to a counter of the hook's own, by its place.
    void (*count)(const struct sluice_packet *packet, uint32_t counter, uint64_t n);
    // Has the agent write a line about the packet to the log: later, and a few a second.
    void (*log)(struct sluice_packet *packet);
    // The time, in cycles, when the worker took up the burst.
    uint64_t (*now)(const struct sluice_packet *packet);
    // The name of an interface of the packet's instance, cut to the room; its length.
    int32_t (*interface_name)(const struct sluice_packet *packet,
                              int32_t interface,
                              char *name,
                              size_t room);
    // The interface of a name, or SLUICE_NOT_FOUND.
    int32_t (*interface_named)(const struct sluice_packet *packet, const char *name);
    // The largest IP packet that an interface takes.
    int32_t (*mtu)(const struct sluice_packet *packet, int32_t interface);
    // The interface that the main table leads an address to, and the neighbour there.
    int32_t (*route_to)(const struct sluice_packet *packet,
                        const struct sluice_address *destination,
                        struct sluice_address *next_hop);
    // Takes the packet away: answer SLUICE_CONSUMED then. NULL when too many are held.
    sluice_owned *(*take)(struct sluice_packet *packet);
    // A copy of the packet; NULL without a buffer.
    sluice_owned *(*copy)(const struct sluice_packet *packet);
    // A packet of `length` bytes, all 0; NULL without a buffer.
    sluice_owned *(*fresh)(const struct sluice_packet *packet, size_t length);
    // The bytes of a packet that the hook holds, as far as they are in the first buffer.
    uint8_t *(*owned_bytes)(const struct sluice_packet *packet, sluice_owned *owned, size_t *length);
    // Puts a packet that the hook holds into this one's place; what was there is freed.
    int32_t (*replace)(struct sluice_packet *packet, sluice_owned *owned);
    // Puts a packet that the hook holds on its way: SLUICE_QUEUE_IN, SLUICE_QUEUE_OUT or
    // SLUICE_DIRECT_OUT. Whatever comes of it, the packet is no longer the hook's.
    int32_t (*inject)(const struct sluice_packet *packet,
                      sluice_owned *owned,
                      uint32_t how,
                      int32_t interface,
                      const struct sluice_address *next_hop);
    // Frees a packet that the hook holds; `file` is `file` of `struct sluice_load`.
    int32_t (*free)(const void *file, sluice_owned *owned);
    // Which file this is: for `free`.
    const void *(*file)(const struct sluice_packet *packet);
    // At ROUTE_DECISION: the interface that the packet would leave by as it stands, and the neighbour
    // there; SLUICE_NOT_FOUND ahead of the decision.
    int32_t (*candidate)(const struct sluice_packet *packet, struct sluice_address *next_hop);
    // The route that leads there; SLUICE_NOT_FOUND where a policy route or a hook said so.
    int32_t (*candidate_route)(const struct sluice_packet *packet, struct sluice_route *route);
    // Sends the packet by the gateway at `via`, by `interface` or (SLUICE_NO_INTERFACE) the one in
    // whose network it lies; with NULL to its destination on the interface's link. The gateway has to
    // be one that some route leads to.
    int32_t (*choose_next_hop)(struct sluice_packet *packet,
                               const struct sluice_address *via,
                               int32_t interface);
    // Sends the packet where another table of its instance leads it.
    int32_t (*choose_table)(struct sluice_packet *packet, int32_t table);
    // The number of a table of the packet's instance, or SLUICE_NOT_FOUND. It may be another in the
    // next generation.
    int32_t (*table_named)(const struct sluice_packet *packet, const char *name);
};

// A packet in a hook's hands, until the hook returns. Byte 0 is the first of its IP header.
struct sluice_packet {
    // What can be done with it.
    const struct sluice_calls *calls;
};

// A setting that a hook knows.
struct sluice_setting {
    // Its name.
    const char *key;
    // What it means.
    const char *help;
};

// A setting that was given.
struct sluice_told {
    // Its name.
    const char *key;
    // Its value.
    const char *value;
};

// What a hook is told when it is made for a worker.
struct sluice_load {
    // The functions, for what happens outside of a packet's callback.
    const struct sluice_calls *calls;
    // This file's, for those functions.
    const void *file;
    // The settings that were given; the last has no key.
    const struct sluice_told *settings;
    // The event that it will stand at.
    uint32_t event;
    // Which object this is, from 0, and how many there are: one for each worker.
    uint32_t worker;
    // How many there are.
    uint32_t workers;
    // Where to write why it does not want to be, as text that ends with a 0.
    char *error;
    // The bytes that fit there.
    size_t error_room;
};

// A hook: what the file exports as `sluice_hook_program`.
struct sluice_hook_program {
    // SLUICE_HOOK_ABI.
    uint32_t abi;
    // sizeof(struct sluice_hook_program).
    uint32_t size;
    // What it calls itself.
    const char *name;
    // What it does, in a line.
    const char *summary;
    // The settings that it knows, the last without a key; NULL for none.
    const struct sluice_setting *settings;
    // Names of the counters that it has of its own, the last NULL, at most 7; NULL for none.
    const char *const *counters;
    // The events that it makes sense at.
    uint32_t events;
    // SLUICE_READ_ONLY, SLUICE_FIRST_OF_FLOW.
    uint32_t flags;
    // Makes what it keeps for one worker; NULL refuses. It runs on the agent's thread, where it may
    // allocate. Without it, `context` is NULL.
    void *(*make)(const struct sluice_load *load);
    // Frees that. It runs on the agent's thread, when the worker has given it back.
    void (*drop)(void *context);
    // Is shown a packet, on the worker's thread: it must not wait, allocate, lock or call the kernel.
    // NULL where there is a `burst`.
    uint32_t (*packet)(void *context, struct sluice_packet *packet);
    // Is shown up to SLUICE_BURST packets at a time, in place of `packet`. What is to become of
    // `packets[i]` goes into `verdicts[i]`, where SLUICE_CONTINUE stands already. With
    // SLUICE_READ_ONLY, they come one by one.
    void (*burst)(void *context,
                  struct sluice_packet *const *packets,
                  uint32_t *verdicts,
                  uint32_t count);
};

#endif  /* SLUICE_HOOK_H */

#ifdef __cplusplus
extern "C"
#else
extern
#endif
const struct sluice_hook_program sluice_hook_program;
