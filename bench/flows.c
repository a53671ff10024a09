/* Makes the packets of a benchmark inside the process that forwards them, whichever that is.
 *
 * A pcap of a million flows would measure how fast memory hands over the pcap. This is loaded into
 * testpmd or Sluice by LD_PRELOAD instead. When the device that SLUICE_FLOWS names is started
 * (net_null: buffers are allocated, nothing is read), a receive callback is added to its queues that
 * writes headers into what it hands out. Both forwarders pay the same for a packet.
 *
 *   SLUICE_FLOWS="device=net_null0 pattern=random count=1048576 transport=udp arp=0 warm=0"
 *
 * pattern   even: one flow after the other; random: any, each as likely; new: each packet another,
 *           until 2^32 were made
 * count     flows of `even` and `random`, a power of two
 * transport udp or syn
 * arp       so many ARP packets a second among them, from hosts of the first network: by turns a
 *           request for the router, which makes the host known, and a gratuitous one by which it has
 *           moved to another link address
 *
 * rss       1: of `even` and `random`, each queue has the flows that a device would put there that
 *           hashes both addresses under the symmetric key
 *
 * Otherwise queue q of a device has flows of its own: sources begin q * 2^24 further on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_thash.h>

enum pattern { EVEN, RANDOM, NEW };

#define FRAME 60
#define QUEUES 8
#define HOSTS 64
#define AHEAD 4

struct queue {
	uint8_t frame[64];
	uint8_t arp[64];
	enum pattern pattern;
	bool syn;
	uint32_t mask;
	uint32_t next;
	uint64_t random;
	uint64_t every; /* cycles between ARP packets; 0 for none */
	uint64_t due;
	uint32_t sent; /* ARP packets */
	const uint32_t *own; /* the flows that are hashed to this queue; NULL for all */
	uint32_t base; /* where sources begin */
	uint32_t sum_ip; /* of the template without what changes */
	uint32_t sum_l4;
} __rte_cache_aligned;

static struct queue queues[QUEUES];
static bool started[RTE_MAX_ETHPORTS];

static const char *setting(const char *name, const char *otherwise)
{
	static char value[64];
	const char *all = getenv("SLUICE_FLOWS");
	size_t length = strlen(name);

	while (all && *all) {
		const char *end = strchrnul(all, ' ');

		if (!strncmp(all, name, length) && all[length] == '=') {
			snprintf(value, sizeof(value), "%.*s", (int)(end - all - length - 1), all + length + 1);
			return value;
		}
		all = *end ? end + 1 : end;
	}
	return otherwise;
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

static uint32_t sum(const uint8_t *at, size_t length)
{
	uint32_t total = 0;

	for (size_t n = 0; n < length; n += 2)
		total += at[n] << 8 | at[n + 1];
	return total;
}

static inline void put16(uint8_t *at, uint16_t value)
{
	value = rte_cpu_to_be_16(value);
	memcpy(at, &value, 2);
}

static inline void put32(uint8_t *at, uint32_t value)
{
	value = rte_cpu_to_be_32(value);
	memcpy(at, &value, 4);
}

/* Flow f: the port is its low half, the destination goes along, the source is its upper half. */
static inline uint32_t source_of(const struct queue *q, uint32_t f)
{
	return q->base + (f >> 16);
}

static inline uint32_t destination_of(uint32_t f)
{
	return 0x0a010000 | (f & 0xffff);
}

static inline void write_flow(const struct queue *q, uint8_t *frame, uint32_t f)
{
	uint32_t source = source_of(q, f);
	uint32_t destination = destination_of(f);
	uint16_t port = f & 0xffff;
	uint32_t both = (source >> 16) + (source & 0xffff) + (destination >> 16) + (destination & 0xffff);

	memcpy(frame, q->frame, 64);
	put16(frame + 24, fold(q->sum_ip + both));
	put32(frame + 26, source);
	put32(frame + 30, destination);
	put16(frame + 34, port);
	if (q->syn)
		put16(frame + 50, fold(q->sum_l4 + both + port));
}

static void write_arp(struct queue *q, uint8_t *frame)
{
	uint32_t host = q->sent / 2 % HOSTS;
	bool gratuitous = q->sent % 2;
	uint32_t address = 0x0a000002 + host;

	memcpy(frame, q->arp, 64);
	/* A link address that is another each time round. */
	put32(frame + 24, q->sent);
	put32(frame + 8, q->sent);
	put32(frame + 28, address);
	put32(frame + 38, gratuitous ? address : 0x0a000001);
	q->sent++;
}

static uint16_t fill(uint16_t port, uint16_t number, struct rte_mbuf **packets, uint16_t n, uint16_t max, void *mine)
{
	struct queue *q = mine;

	(void)port;
	(void)number;
	(void)max;
	for (uint16_t at = 0; at < n; at++) {
		uint32_t f;

		if (at + AHEAD < n)
			rte_prefetch0(rte_pktmbuf_mtod(packets[at + AHEAD], void *));
		switch (q->pattern) {
		case EVEN:
			f = q->next++ & q->mask;
			break;
		case NEW:
			f = q->next++;
			break;
		default: /* xorshift64* (Vigna 2016) */
			q->random ^= q->random >> 12;
			q->random ^= q->random << 25;
			q->random ^= q->random >> 27;
			f = (q->random * 0x2545f4914f6cdd1d) >> 32 & q->mask;
		}
		write_flow(q, rte_pktmbuf_mtod(packets[at], uint8_t *), q->own ? q->own[f] : f);
	}
	if (q->every && n && rte_rdtsc() >= q->due) {
		/* What could not be sent in time is not made up for. */
		q->due = RTE_MAX(q->due + q->every, rte_rdtsc() - q->every);
		write_arp(q, rte_pktmbuf_mtod(packets[n - 1], uint8_t *));
	}
	return n;
}

/* Which of so many queues, a power of two, a device puts a flow into. */
static uint32_t queue_of(const struct queue *q, uint32_t f, uint16_t count)
{
	uint32_t addresses[] = { source_of(q, f), destination_of(f) };
	uint8_t key[40];

	for (size_t n = 0; n < sizeof(key); n++)
		key[n] = n % 2 ? 0x5a : 0x6d;
	return rte_softrss(addresses, 2, key) & (count - 1);
}

/* The first flows that are this queue's, as many as there are to be. */
static const uint32_t *hashed_to(const struct queue *q, uint16_t number, uint16_t count)
{
	uint32_t *own = malloc(((size_t)q->mask + 1) * sizeof(*own));

	for (uint32_t f = 0, n = 0; own && n <= q->mask; f++) {
		if (queue_of(q, f, count) == number)
			own[n++] = f;
	}
	return own;
}

static void prepare(struct queue *q, const struct rte_ether_addr *router, uint16_t number, uint16_t count)
{
	static const uint8_t header[] = {
		0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0x99, 8, 0, /* Ethernet */
		0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* IPv4 */
	};
	static const uint8_t arp[] = {
		255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 0, 8, 6, /* Ethernet */
		0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0, /* ARP request; link address of the sender */
	};
	const char *pattern = setting("pattern", "even");
	double rate;

	q->pattern = !strcmp(pattern, "random") ? RANDOM : !strcmp(pattern, "new") ? NEW : EVEN;
	q->mask = strtoul(setting("count", "1024"), NULL, 0) - 1;
	q->syn = !strcmp(setting("transport", "udp"), "syn");
	q->base = 0x0a000002;
	if (q->pattern != NEW && atoi(setting("rss", "0")))
		q->own = hashed_to(q, number, count);
	else
		q->base += (uint32_t)number << 24;
	q->random = 0x9e3779b97f4a7c15 ^ number;
	memcpy(q->arp, arp, sizeof(arp));
	memcpy(q->frame, header, sizeof(header));
	memcpy(q->frame, router, 6);
	put16(q->frame + 36, 9);
	if (q->syn) {
		static const uint8_t tcp[] = { 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff };

		q->frame[23] = 6;
		memcpy(q->frame + 38, tcp, sizeof(tcp));
		q->sum_l4 = sum(q->frame + 34, 26) + 6 + 26;
	} else {
		put16(q->frame + 38, 26);
	}
	q->sum_ip = sum(q->frame + 14, 20);
	rate = strtod(setting("arp", "0"), NULL);
	q->every = rate > 0 ? rte_get_tsc_hz() / rate : 0;
	q->due = rte_rdtsc() + q->every;
}

int rte_eth_dev_start(uint16_t port)
{
	int (*start)(uint16_t) = (int (*)(uint16_t))dlsym(RTLD_NEXT, "rte_eth_dev_start");
	struct rte_eth_dev_info info;
	struct rte_ether_addr router;
	char name[RTE_ETH_NAME_MAX_LEN];

	if (!started[port] && !rte_eth_dev_get_name_by_port(port, name) && !strcmp(name, setting("device", "net_null0")) &&
	    !rte_eth_dev_info_get(port, &info) && !rte_eth_macaddr_get(port, &router)) {
		started[port] = true;
		for (uint16_t number = 0; number < info.nb_rx_queues && number < QUEUES; number++) {
			prepare(&queues[number], &router, number, info.nb_rx_queues);
			if (!rte_eth_add_rx_callback(port, number, fill, &queues[number])) {
				fprintf(stderr, "flows: %s takes no receive callback\n", name);
				return -ENOTSUP;
			}
		}
	}
	return start(port);
}
