#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/if_packet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

#include <rte_build_config.h>
#include <rte_cycles.h>

struct rte_mempool *sluice_pool_create(const char *name, unsigned int count, unsigned int cache,
				       uint16_t room, int packed)
{
	struct rte_pktmbuf_pool_private layout = { .mbuf_data_room_size = room };
	struct rte_mempool *pool;
	int failed;

	pool = rte_mempool_create_empty(name, count, sizeof(struct rte_mbuf) + room, cache,
					sizeof(layout), SOCKET_ID_ANY,
					packed ? RTE_MEMPOOL_F_NO_IOVA_CONTIG : 0);
	if (pool == NULL)
		return NULL;
	failed = rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL);
	if (failed == 0) {
		rte_pktmbuf_pool_init(pool, &layout);
		failed = rte_mempool_populate_default(pool);
	}
	if (failed < 0) {
		rte_mempool_free(pool);
		rte_errno = -failed;
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

static size_t stride(const struct rte_mempool *pool)
{
	return pool->header_size + pool->elt_size + pool->trailer_size;
}

/* Where the pool's memory ends, or 0 if it is not one piece of address space. */
static uintptr_t pool_end(const struct rte_mempool *pool)
{
	const struct rte_mempool_memhdr *chunk;
	uintptr_t end = 0;

	STAILQ_FOREACH(chunk, &pool->mem_list, next) {
		uintptr_t start = (uintptr_t)chunk->addr;

		if (end != 0 && (start < end || start - end >= stride(pool)))
			return 0;
		end = start + chunk->len;
	}
	return end;
}

unsigned int sluice_pool_outside(const struct rte_mempool *pool)
{
	uintptr_t end = pool_end(pool);
	uintptr_t covered, size;

	if (end == 0)
		return UINT_MAX;
	size = end - (uintptr_t)STAILQ_FIRST(&pool->mem_list)->addr;
	covered = stride(pool) * pool->populated_size;
	return size <= covered ? 0 : (size - covered + stride(pool) - 1) / stride(pool);
}

uint16_t sluice_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t sluice_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

int sluice_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

struct rte_mbuf *sluice_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void sluice_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

struct rte_mbuf *sluice_umem_mbuf(struct rte_mempool *pool, uint64_t address)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t start = (uintptr_t)STAILQ_FIRST(&pool->mem_list)->addr;
	uintptr_t element = (start & ~(page - 1)) + address;
	struct rte_mbuf *mbuf = (struct rte_mbuf *)(element + pool->header_size);

	if (element < start || element + stride(pool) > pool_end(pool))
		return NULL;
	return mbuf->pool == pool ? mbuf : NULL;
}

int sluice_link(uint16_t port, int *up, uint32_t *speed)
{
	struct rte_eth_link link;
	int failed;

	memset(&link, 0, sizeof(link));
	failed = rte_eth_link_get_nowait(port, &link);
	*up = link.link_status;
	*speed = link.link_speed;
	return failed;
}

int sluice_errno(void)
{
	return rte_errno;
}

uint64_t sluice_rdtsc(void)
{
	return rte_rdtsc();
}

static void (*log_sink)(const char *text, size_t length);

static ssize_t log_write(void *cookie, const char *text, size_t length)
{
	(void)cookie;
	log_sink(text, length);
	return (ssize_t)length;
}

int sluice_log_to(void (*sink)(const char *text, size_t length))
{
	static const cookie_io_functions_t functions = { .write = log_write };
	FILE *stream;

	log_sink = sink;
	stream = fopencookie(NULL, "w", functions);
	if (stream == NULL)
		return -errno;
	return rte_openlog_stream(stream);
}

static int log_print(int level, const char *format, va_list arguments)
{
	char text[512];
	int length;

	/* Both count from 0, their warnings. */
	if (level > 0)
		return 0;
	length = vsnprintf(text, sizeof(text), format, arguments);
	if (length > 0)
		log_sink(text, (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1);
	return length;
}

void sluice_log_xdp(void)
{
	static const char *const places[][2] = {
		{ "libxdp.so.1", "libxdp_set_print" },
		{ "libbpf.so.1", "libbpf_set_print" },
		{ "libbpf.so.0", "libbpf_set_print" },
	};
	typedef void *(*set_print)(int (*print)(int, const char *, va_list));
	size_t i;

	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		void *library = dlopen(places[i][0], RTLD_LAZY | RTLD_NOLOAD);
		set_print set = library ? (set_print)dlsym(library, places[i][1]) : NULL;

		if (set != NULL)
			set(log_print);
		if (library != NULL)
			dlclose(library);
	}
}

const char *sluice_driver_directory(void)
{
#ifdef RTE_EAL_PMD_PATH
	return RTE_EAL_PMD_PATH;
#else
	return "";
#endif
}

/* The af_packet driver has the kernel put IPv4 fragments together before they reach it. A router must
 * see them as they came: the whole would be larger than the link, and a filter would not have seen the
 * pieces. The driver leaves no choice, so the call is answered here: a symbol of
 * the program goes before that of a library. All other calls pass as they are. */
int setsockopt(int socket, int level, int name, const void *value, socklen_t length)
{
	int fanout;

	if (level == SOL_PACKET && name == PACKET_FANOUT && length == sizeof(fanout)) {
		memcpy(&fanout, value, sizeof(fanout));
		fanout &= ~(PACKET_FANOUT_FLAG_DEFRAG << 16);
		value = &fanout;
	}
	return (int)syscall(SYS_setsockopt, socket, level, name, value, length);
}

static sluice_bpf_call bpf_call;

/* Code that librte_bpf 22.11 compiles for x86-64 calls with a stack that is not aligned as the ABI
 * says; what is called may stand on that. */
#ifdef __x86_64__
#define REALIGNED __attribute__((force_align_arg_pointer))
#else
#define REALIGNED
#endif

#define BPF_HELPER(n)                                                                             \
	static REALIGNED uint64_t bpf_helper_##n(uint64_t argument, uint64_t a, uint64_t b,       \
						 uint64_t c, uint64_t d)                          \
	{                                                                                         \
		return bpf_call(n, (void *)(uintptr_t)argument, a, b, c, d);                      \
	}

BPF_HELPER(1)
BPF_HELPER(2)
BPF_HELPER(3)
BPF_HELPER(4)
BPF_HELPER(5)
BPF_HELPER(6)
BPF_HELPER(7)
BPF_HELPER(8)

struct rte_bpf *sluice_bpf_load(const void *instructions, uint32_t count, size_t size,
				const uint8_t numbers[SLUICE_BPF_HELPERS], sluice_bpf_call call)
{
	static uint64_t (*const helpers[SLUICE_BPF_HELPERS + 1])(uint64_t, uint64_t, uint64_t,
								 uint64_t, uint64_t) = {
		/* There is no helper 0, and nobody calls it. */
		bpf_helper_1, bpf_helper_1, bpf_helper_2, bpf_helper_3, bpf_helper_4,
		bpf_helper_5, bpf_helper_6, bpf_helper_7, bpf_helper_8,
	};
	const struct rte_bpf_arg argument = { .type = RTE_BPF_ARG_PTR, .size = size };
	const struct rte_bpf_arg number = { .type = RTE_BPF_ARG_RAW, .size = sizeof(uint64_t) };
	struct rte_bpf_xsym symbols[SLUICE_BPF_HELPERS + 1];
	struct rte_bpf_prm program;
	uint32_t i, n;

	memset(symbols, 0, sizeof(symbols));
	for (i = 0; i <= SLUICE_BPF_HELPERS; i++) {
		symbols[i].name = "helper";
		symbols[i].type = RTE_BPF_XTYPE_FUNC;
		symbols[i].func.val = helpers[i];
		symbols[i].func.nb_args = 1 + (i == 0 ? 0 : numbers[i - 1]);
		symbols[i].func.args[0] = argument;
		for (n = 1; n < EBPF_FUNC_MAX_ARGS; n++)
			symbols[i].func.args[n] = number;
		symbols[i].func.ret = number;
	}
	memset(&program, 0, sizeof(program));
	program.ins = instructions;
	program.nb_ins = count;
	program.xsym = symbols;
	program.nb_xsym = SLUICE_BPF_HELPERS + 1;
	program.prog_arg = argument;
	bpf_call = call;
	return rte_bpf_load(&program);
}

uint64_t (*sluice_bpf_native(const struct rte_bpf *bpf))(void *argument)
{
	struct rte_bpf_jit native;

	if (rte_bpf_get_jit(bpf, &native) != 0)
		return NULL;
	return native.func;
}
