/* What DPDK offers only as inline functions, macros or bit expressions, made callable and readable
 * from Rust. Every function here is meant to be called once per burst, never once per packet; the
 * two that handle one mbuf are for the slow path.
 */
#ifndef SLUICE_SHIM_H
#define SLUICE_SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <rte_config.h>
#include <rte_bpf.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Where the fields of an mbuf are. 24.11 nests some of them in anonymous unions, so that the names
 * bindgen gives them differ between releases; offsetof() does not. */
enum sluice_layout {
	SLUICE_MBUF_SIZE = sizeof(struct rte_mbuf),
	SLUICE_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	SLUICE_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	SLUICE_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	SLUICE_MBUF_PORT = offsetof(struct rte_mbuf, port),
	SLUICE_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	SLUICE_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	SLUICE_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	SLUICE_MBUF_RSS_HASH = offsetof(struct rte_mbuf, hash.rss),
	SLUICE_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	SLUICE_MBUF_NEXT = offsetof(struct rte_mbuf, next),
	SLUICE_MBUF_TX_OFFLOAD = offsetof(struct rte_mbuf, tx_offload),
	SLUICE_MEMPOOL_HEADER_SIZE = sizeof(struct rte_mempool_objhdr),
	SLUICE_HEADROOM = RTE_PKTMBUF_HEADROOM,
	SLUICE_MEMPOOL_CACHE_MAX = RTE_MEMPOOL_CACHE_MAX_SIZE,
	SLUICE_MEMPOOL_NAME_SIZE = RTE_MEMPOOL_NAMESIZE,
	SLUICE_MAX_LCORE = RTE_MAX_LCORE,
	SLUICE_MAX_PORTS = RTE_MAX_ETHPORTS,
	SLUICE_RETA_GROUP = RTE_ETH_RETA_GROUP_SIZE,
};

static const uint64_t SLUICE_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t SLUICE_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t SLUICE_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t SLUICE_RX_L4_CKSUM_NONE = RTE_MBUF_F_RX_L4_CKSUM_NONE;
static const uint64_t SLUICE_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;

static const uint32_t SLUICE_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const uint64_t SLUICE_RSS_HASHES =
	RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP |
	RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV4_OTHER | RTE_ETH_RSS_IPV6 |
	RTE_ETH_RSS_FRAG_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP |
	RTE_ETH_RSS_NONFRAG_IPV6_OTHER;
/* The hash of any IPv4 packet's addresses, whatever it carries; the hashes of addresses alone. */
static const uint64_t SLUICE_RSS_ANY_IPV4 = RTE_ETH_RSS_IPV4;
static const uint64_t SLUICE_RSS_ADDRESSES =
	RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_OTHER |
	RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_FRAG_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_OTHER;
static const uint64_t SLUICE_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t SLUICE_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t SLUICE_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;

/* As rte_pktmbuf_pool_create(), whose pools cannot be told to lie `packed`: one buffer after the other,
 * across the boundaries of pages. Devices that are given bus addresses cannot use such a pool. */
struct rte_mempool *sluice_pool_create(const char *name, unsigned int count, unsigned int cache,
				       uint16_t room, int packed);

/* How many buffers of a pool are outside of the area that the af_xdp driver registers with the kernel:
 * it takes them to be packed from the start of the first piece of memory on. UINT_MAX if there are
 * gaps between the pieces. */
unsigned int sluice_pool_outside(const struct rte_mempool *pool);

/* One call per burst. */
uint16_t sluice_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t sluice_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
int sluice_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);

/* One mbuf, on the slow path. */
struct rte_mbuf *sluice_alloc(struct rte_mempool *pool);
void sluice_free(struct rte_mbuf *mbuf);

/* The mbuf whose element of `pool` is at `address` of the area that the af_xdp driver registers with
 * the kernel: from the page on in which the pool's memory starts. NULL if there is none. */
struct rte_mbuf *sluice_umem_mbuf(struct rte_mempool *pool, uint64_t address);

/* Whether a port has a link, and its speed in Mbit/s. The struct is a union since 24.07. 0 or -errno. */
int sluice_link(uint16_t port, int *up, uint32_t *speed);

/* The rte_errno of the calling thread. */
int sluice_errno(void);

/* The time stamp counter, for architectures where Rust has no intrinsic. */
uint64_t sluice_rdtsc(void);

/* Gives DPDK's log to `sink`, one call per message, from whatever thread logs. 0 or -errno. */
int sluice_log_to(void (*sink)(const char *text, size_t length));

/* Gives the log of libxdp and libbpf to the same sink, if the af_xdp driver has loaded them. */
void sluice_log_xdp(void);

/* What a program that runs in the sandbox calls: the helper's number, the program's argument as it was
 * given to the program, and the numbers of the call. */
typedef uint64_t (*sluice_bpf_call)(uint32_t helper, void *argument, uint64_t a, uint64_t b,
				    uint64_t c, uint64_t d);

enum { SLUICE_BPF_HELPERS = 8 };

/* Loads `count` instructions whose argument points to `size` bytes. Helper n, from 1 on, is given the
 * argument and `numbers[n - 1]` numbers. `call` is the same in every call of this function. NULL, and
 * rte_errno, if librte_bpf refuses it; its log says why. */
struct rte_bpf *sluice_bpf_load(const void *instructions, uint32_t count, size_t size,
				const uint8_t numbers[SLUICE_BPF_HELPERS], sluice_bpf_call call);

/* The native code of a program, or NULL where librte_bpf has not made any. */
uint64_t (*sluice_bpf_native(const struct rte_bpf *bpf))(void *argument);

/* The directory that EAL's shared build loads drivers from, empty when it has none. */
const char *sluice_driver_directory(void);

#endif
