/* What a program for Sluice's sandbox is written against: docs/sandbox.md.
 *
 *	clang -O2 -target bpf -mcpu=v2 -I include -c program.c -o program.o
 *	sluice hook load /path/to/program.o --event physical-in
 *
 * A program is one function, marked SLUICE_HOOK, and what it says of itself, SLUICE_PROGRAM(…). It is
 * given a packet and answers what becomes of it. It has no loops (`#pragma unroll` makes them none), no
 * variables outside of the function, and no functions that are not inlined.
 */
#ifndef SLUICE_BPF_H
#define SLUICE_BPF_H

#define SLUICE_BPF_VERSION 1

typedef __UINT8_TYPE__ u8;
typedef __UINT16_TYPE__ u16;
typedef __UINT32_TYPE__ u32;
typedef __UINT64_TYPE__ u64;

/* Answers. Any other drops the packet as SLUICE_DROP does. */
#define SLUICE_CONTINUE 0
#define SLUICE_DROP 1
/* Dropped, for the reason that the program's counter of this place names. */
#define SLUICE_DROP_AS(counter) (0x100 + (counter))

/* Events, in sluice_packet.event. */
#define SLUICE_OBSERVING 0
#define SLUICE_PHYSICAL_IN 1
#define SLUICE_LOOPBACK_IN 2
#define SLUICE_LOOPBACK_OUT 3
#define SLUICE_ROUTE_DECISION 4
#define SLUICE_FORWARDING 5
#define SLUICE_PHYSICAL_OUT 6
/* A set of them, for sluice_program.events. */
#define SLUICE_AT(event) (1u << SLUICE_##event)

/* Bits of sluice_packet.flags. */
#define SLUICE_DONT_FRAGMENT 0x01
#define SLUICE_OPTIONS 0x02
#define SLUICE_LINK_BROADCAST 0x04
#define SLUICE_LINK_MULTICAST 0x08
#define SLUICE_LOCAL_ORIGIN 0x10
#define SLUICE_SEGMENTS_LEFT 0x20
#define SLUICE_FIRST_KNOWN 0x40

/* Sizes. */
#define SLUICE_SETTINGS 8
#define SLUICE_MEMORY 32
#define SLUICE_WINDOW 256
#define SLUICE_COUNTERS 8
#define SLUICE_TABLES 4

/* The packet, as a program sees it. Numbers are in the machine's byte order; what is in `data` is as
 * it is on the wire. Only `memory` and `data` can be written. */
struct sluice_packet {
	/* The five-tuple. An IPv4 address is in the low 32 bits of the low half. */
	u64 src_high, src_low;
	u64 dst_high, dst_low;
	u16 src_port, dst_port;
	u8 protocol;
	u8 family;		/* 4 or 6; 0 for ARP */
	u8 fragment;		/* 0 whole, 1 first, 2 later: it has no ports */
	u8 tcp_flags;
	u8 icmp_type, icmp_code;
	u8 hop_limit;
	u8 traffic_class;
	u16 l4_offset;		/* bytes from the IP header to the layer-4 header */
	u8 flags;
	u8 state;		/* 0 untracked, 1 new, 2 established, 3 related, 4 invalid */
	u32 length;		/* bytes, IP header included */
	u32 ingress, egress;	/* the interface's number plus 1; 0 where there is none */
	u32 instance;
	u32 event;
	u32 window;		/* how many of `data` are the packet's */
	u64 now;		/* nanoseconds since some moment */
	u64 settings[SLUICE_SETTINGS];
	/* Kept from packet to packet, on each worker for itself; all 0 at first. */
	u64 memory[SLUICE_MEMORY];
	/* The packet's first bytes, from the IP header on; 0 behind its end. What is changed here is
	 * changed in the packet. */
	u8 data[SLUICE_WINDOW];
};

/* What a program says of itself. Names are lower-case letters, digits and hyphens. */
struct sluice_program {
	u32 version;
	u32 events;		/* where it makes sense: SLUICE_AT(PHYSICAL_IN) | … */
	char name[32];
	char summary[96];
	char counters[SLUICE_COUNTERS][32];
	/* Tables: numbers under keys of 128 bits, on each worker for itself. */
	struct {
		char name[32];
		u32 entries;	/* keys that fit: 1 to 65536 */
		u32 unused;
	} tables[SLUICE_TABLES];
	/* What an operator can set: sluice_packet.settings, in the same order. */
	struct {
		char name[32];
		char summary[96];
		u64 initial, least, most;
		/* A list of numbers that are put into a table as keys, each with the value 1: the table's
		 * place plus 1. 0 for a number. */
		u32 table;
		u32 unused;
	} settings[SLUICE_SETTINGS];
};

#define SLUICE_PROGRAM(...)                                                                      \
	__attribute__((section("sluice"), used)) const struct sluice_program sluice_program = {      \
		.version = SLUICE_BPF_VERSION, __VA_ARGS__                                           \
	}

#define SLUICE_HOOK __attribute__((section("hook"), used))

#define SLUICE_HELPER(type, name, number, ...)                                                   \
	static type (*const name)(struct sluice_packet *packet, ##__VA_ARGS__)                       \
		__attribute__((unused)) = (void *)number

/* Adds to the program's counter of this place. */
SLUICE_HELPER(u64, sluice_count, 1, u64 counter, u64 n);
/* The value under a key of a table; 0 if there is none. */
SLUICE_HELPER(u64, sluice_lookup, 2, u64 table, u64 high, u64 low);
/* Sets it. 0 if the table is full, else 1. */
SLUICE_HELPER(u64, sluice_store, 3, u64 table, u64 high, u64 low, u64 value);
/* Adds to it, and answers the sum; a key that is not there begins at 0. 0 if the table is full. */
SLUICE_HELPER(u64, sluice_add, 4, u64 table, u64 high, u64 low, u64 n);
/* Takes a key out. 1 if it was there. */
SLUICE_HELPER(u64, sluice_remove, 5, u64 table, u64 high, u64 low);
/* 1 to 8 bytes from anywhere in the packet, as a number in network byte order; 0 behind its end. */
SLUICE_HELPER(u64, sluice_load, 6, u64 offset, u64 bytes);
/* Has the packet's checksums written anew when the program is done. */
SLUICE_HELPER(u64, sluice_checksums, 7);
/* Has the packet logged; not at OBSERVING. */
SLUICE_HELPER(u64, sluice_log, 8);

#endif
