/* The peer of bench/filters: the same rules and packets through librte_acl.
 *
 * Reads commands from standard input and answers each with one line:
 *
 *   rules N     then N lines "src len dst len sport-low sport-high dport-low dport-high proto mask",
 *               first match first; answers "NANOSECONDS" that building took
 *   packets N   then N lines "src dst sport dport proto"; answers "ok"
 *   match       answers N numbers: the rule that each packet met, from 1, or 0 for none
 *   round       classifies all packets in bursts of 64, once for each method that the processor
 *               has; answers pairs "method nanoseconds"
 *
 * Packets lie 64 bytes apart, as the headers that a program classifies would.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_acl.h>
#include <rte_byteorder.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_malloc.h>

#define BURST 64

struct packet {
	uint8_t proto;
	uint8_t pad[3];
	uint32_t src;
	uint32_t dst;
	uint16_t sport;
	uint16_t dport;
} __attribute__((aligned(64)));

enum { PROTO, SRC, DST, SPORT, DPORT, FIELDS };

static struct rte_acl_field_def fields[FIELDS] = {
	{ .type = RTE_ACL_FIELD_TYPE_BITMASK, .size = 1, .field_index = PROTO, .input_index = 0,
	  .offset = offsetof(struct packet, proto) },
	{ .type = RTE_ACL_FIELD_TYPE_MASK, .size = 4, .field_index = SRC, .input_index = 1,
	  .offset = offsetof(struct packet, src) },
	{ .type = RTE_ACL_FIELD_TYPE_MASK, .size = 4, .field_index = DST, .input_index = 2,
	  .offset = offsetof(struct packet, dst) },
	{ .type = RTE_ACL_FIELD_TYPE_RANGE, .size = 2, .field_index = SPORT, .input_index = 3,
	  .offset = offsetof(struct packet, sport) },
	{ .type = RTE_ACL_FIELD_TYPE_RANGE, .size = 2, .field_index = DPORT, .input_index = 3,
	  .offset = offsetof(struct packet, dport) },
};

RTE_ACL_RULE_DEF(rule, FIELDS);

static const struct {
	const char *name;
	enum rte_acl_classify_alg alg;
} methods[] = {
	{ "sse", RTE_ACL_CLASSIFY_SSE },
	{ "avx2", RTE_ACL_CLASSIFY_AVX2 },
	{ "avx512x16", RTE_ACL_CLASSIFY_AVX512X16 },
	{ "avx512x32", RTE_ACL_CLASSIFY_AVX512X32 },
};

static struct rte_acl_ctx *acl;
static struct packet *packets;
static const uint8_t **data;
static uint32_t *results;
static unsigned count;

static void fail(const char *what, int error)
{
	fprintf(stderr, "rte_acl: %s: %s\n", what, rte_strerror(abs(error)));
	exit(1);
}

/* Time of this thread on the processor: what else the machine does is not in it. */
static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
}

static void read_rules(unsigned n)
{
	static unsigned generation;
	char name[32];
	struct rule *rules = calloc(n, sizeof(*rules));

	for (unsigned i = 0; i < n; i++) {
		uint32_t src, src_len, dst, dst_len, proto, mask;
		uint16_t s0, s1, d0, d1;
		if (scanf("%" SCNu32 "%" SCNu32 "%" SCNu32 "%" SCNu32 "%" SCNu16 "%" SCNu16 "%" SCNu16
			  "%" SCNu16 "%" SCNu32 "%" SCNu32,
			  &src, &src_len, &dst, &dst_len, &s0, &s1, &d0, &d1, &proto, &mask) != 10)
			fail("a rule", EINVAL);
		rules[i].data = (struct rte_acl_rule_data){
			.category_mask = 1, .priority = RTE_ACL_MAX_PRIORITY - i, .userdata = i + 1 };
		rules[i].field[PROTO] = (struct rte_acl_field){
			.value.u8 = proto, .mask_range.u8 = mask };
		rules[i].field[SRC] = (struct rte_acl_field){
			.value.u32 = src, .mask_range.u32 = src_len };
		rules[i].field[DST] = (struct rte_acl_field){
			.value.u32 = dst, .mask_range.u32 = dst_len };
		rules[i].field[SPORT] = (struct rte_acl_field){
			.value.u16 = s0, .mask_range.u16 = s1 };
		rules[i].field[DPORT] = (struct rte_acl_field){
			.value.u16 = d0, .mask_range.u16 = d1 };
	}

	uint64_t began = now();
	rte_acl_free(acl);
	snprintf(name, sizeof(name), "rules%u", generation++);
	struct rte_acl_param parameters = { .name = name, .socket_id = SOCKET_ID_ANY,
		.rule_size = RTE_ACL_RULE_SZ(FIELDS), .max_rule_num = n };
	acl = rte_acl_create(&parameters);
	if (acl == NULL)
		fail("create", rte_errno);
	int error = rte_acl_add_rules(acl, (struct rte_acl_rule *)rules, n);
	if (error != 0)
		fail("add", error);
	struct rte_acl_config config = { .num_categories = 1, .num_fields = FIELDS };
	memcpy(config.defs, fields, sizeof(fields));
	error = rte_acl_build(acl, &config);
	if (error != 0)
		fail("build", error);
	printf("%" PRIu64 "\n", now() - began);
	free(rules);
}

static void read_packets(unsigned n)
{
	free(packets);
	free(data);
	free(results);
	packets = aligned_alloc(64, n * sizeof(*packets));
	data = calloc(n, sizeof(*data));
	results = calloc(n, sizeof(*results));
	count = n;
	for (unsigned i = 0; i < n; i++) {
		uint32_t src, dst;
		uint16_t sport, dport;
		unsigned proto;
		if (scanf("%" SCNu32 "%" SCNu32 "%" SCNu16 "%" SCNu16 "%u", &src, &dst, &sport, &dport,
			  &proto) != 5)
			fail("a packet", EINVAL);
		packets[i] = (struct packet){ .proto = proto, .src = rte_cpu_to_be_32(src),
			.dst = rte_cpu_to_be_32(dst), .sport = rte_cpu_to_be_16(sport),
			.dport = rte_cpu_to_be_16(dport) };
		data[i] = (const uint8_t *)&packets[i];
	}
	puts("ok");
}

/* Returns whether the processor has the method. */
static int classify(enum rte_acl_classify_alg alg)
{
	for (unsigned i = 0; i < count; i += BURST) {
		unsigned n = RTE_MIN(count - i, (unsigned)BURST);
		if (rte_acl_classify_alg(acl, data + i, results + i, n, 1, alg) != 0)
			return 0;
	}
	return 1;
}

static void match(void)
{
	classify(RTE_ACL_CLASSIFY_SCALAR);
	for (unsigned i = 0; i < count; i++)
		printf("%" PRIu32 " ", results[i]);
	puts("");
}

static void one_round(void)
{
	for (unsigned m = 0; m < RTE_DIM(methods); m++) {
		if (!classify(methods[m].alg))
			continue;
		uint64_t began = now();
		classify(methods[m].alg);
		printf("%s %" PRIu64 " ", methods[m].name, now() - began);
	}
	puts("");
}

int main(int argc, char **argv)
{
	char command[16];
	unsigned n;

	if (rte_eal_init(argc, argv) < 0)
		fail("EAL", rte_errno);
	while (scanf("%15s", command) == 1) {
		if (strcmp(command, "rules") == 0 && scanf("%u", &n) == 1)
			read_rules(n);
		else if (strcmp(command, "packets") == 0 && scanf("%u", &n) == 1)
			read_packets(n);
		else if (strcmp(command, "match") == 0)
			match();
		else if (strcmp(command, "round") == 0)
			one_round();
		else
			fail(command, EINVAL);
		fflush(stdout);
	}
	return 0;
}
