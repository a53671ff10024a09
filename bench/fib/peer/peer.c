/* DPDK's tables behind one interface: rte_fib, rte_fib6, rte_lpm, rte_lpm6. */

#include <malloc.h>
#include <stdint.h>
#include <string.h>

#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_lpm.h>
#include <rte_lpm6.h>
#include <rte_malloc.h>
#include <rte_vect.h>

enum kind { FIB, FIB6, LPM, LPM6 };

/* What a lookup yields where there is no route. */
#define NONE 0x7fffffffU
/* As many as a burst has packets. */
#define BURST 64

void *peer_create(enum kind kind, uint32_t routes, uint32_t tbl8)
{
	struct rte_fib_conf fib = {
		.type = RTE_FIB_DIR24_8,
		.default_nh = NONE,
		.max_routes = routes,
		.dir24_8 = { .nh_sz = RTE_FIB_DIR24_8_4B, .num_tbl8 = tbl8 },
	};
	struct rte_fib6_conf fib6 = {
		.type = RTE_FIB6_TRIE,
		.default_nh = NONE,
		.max_routes = routes,
		.trie = { .nh_sz = RTE_FIB6_TRIE_4B, .num_tbl8 = tbl8 },
	};
	struct rte_lpm_config lpm = { .max_rules = routes, .number_tbl8s = tbl8 };
	struct rte_lpm6_config lpm6 = { .max_rules = routes, .number_tbl8s = tbl8 };

	switch (kind) {
	case FIB:
		return rte_fib_create("fib", 0, &fib);
	case FIB6:
		return rte_fib6_create("fib6", 0, &fib6);
	case LPM:
		return rte_lpm_create("lpm", 0, &lpm);
	case LPM6:
		return rte_lpm6_create("lpm6", 0, &lpm6);
	}
	return NULL;
}

/* Has DPDK choose its best lookup for registers of so many bits; its own default is 256. */
int peer_choose(enum kind kind, void *table, uint16_t bits)
{
	rte_vect_set_max_simd_bitwidth(bits);
	switch (kind) {
	case FIB:
		return rte_fib_select_lookup(table, RTE_FIB_LOOKUP_DEFAULT);
	case FIB6:
		return rte_fib6_select_lookup(table, RTE_FIB6_LOOKUP_DEFAULT);
	case LPM:
	case LPM6:
		return 0;
	}
	return -1;
}

void peer_free(enum kind kind, void *table)
{
	switch (kind) {
	case FIB:
		rte_fib_free(table);
		break;
	case FIB6:
		rte_fib6_free(table);
		break;
	case LPM:
		rte_lpm_free(table);
		break;
	case LPM6:
		rte_lpm6_free(table);
		break;
	}
}

/* `network` is in the order of bytes on the wire. */
int peer_add(enum kind kind, void *table, const uint8_t network[16], uint8_t length, uint32_t leaf)
{
	uint32_t ip = (uint32_t)network[0] << 24 | network[1] << 16 | network[2] << 8 | network[3];

	switch (kind) {
	case FIB:
		return rte_fib_add(table, ip, length, leaf);
	case FIB6:
		return rte_fib6_add(table, network, length, leaf);
	case LPM:
		return rte_lpm_add(table, ip, length, leaf);
	case LPM6:
		return rte_lpm6_add(table, network, length, leaf);
	}
	return -1;
}

int peer_remove(enum kind kind, void *table, const uint8_t network[16], uint8_t length)
{
	uint32_t ip = (uint32_t)network[0] << 24 | network[1] << 16 | network[2] << 8 | network[3];

	switch (kind) {
	case FIB:
		return rte_fib_delete(table, ip, length);
	case FIB6:
		return rte_fib6_delete(table, network, length);
	case LPM:
		return rte_lpm_delete(table, ip, length);
	case LPM6:
		return rte_lpm6_delete(table, network, length);
	}
	return -1;
}

/* Looks all addresses up, a burst at a time; returns the sum of what was found. */
uint64_t peer_lookup(enum kind kind, void *table, uint32_t *addresses, uint32_t count)
{
	uint64_t found[BURST], sum = 0;
	uint32_t entries[BURST];

	for (uint32_t i = 0; i + BURST <= count; i += BURST) {
		if (kind == LPM) {
			rte_lpm_lookup_bulk(table, addresses + i, entries, BURST);
			for (int j = 0; j < BURST; j++)
				sum += entries[j] & RTE_LPM_LOOKUP_SUCCESS ? entries[j] & 0xffffff : NONE;
		} else {
			rte_fib_lookup_bulk(table, addresses + i, found, BURST);
			for (int j = 0; j < BURST; j++)
				sum += found[j];
		}
	}
	return sum;
}

uint64_t peer_lookup6(enum kind kind, void *table, uint8_t (*addresses)[16], uint32_t count)
{
	uint64_t found[BURST], sum = 0;
	int32_t entries[BURST];

	for (uint32_t i = 0; i + BURST <= count; i += BURST) {
		if (kind == LPM6) {
			rte_lpm6_lookup_bulk_func(table, addresses + i, entries, BURST);
			for (int j = 0; j < BURST; j++)
				sum += entries[j] >= 0 ? (uint32_t)entries[j] : NONE;
		} else {
			rte_fib6_lookup_bulk(table, addresses + i, found, BURST);
			for (int j = 0; j < BURST; j++)
				sum += found[j];
		}
	}
	return sum;
}

/* What DPDK has allocated, in bytes. */
uint64_t peer_memory(void)
{
	struct rte_malloc_socket_stats stats;

	return rte_malloc_get_socket_stats(0, &stats) == 0 ? stats.heap_allocsz_bytes : 0;
}

/* What the C library has handed out to the program, its own headers included, in bytes. */
uint64_t heap_memory(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}
