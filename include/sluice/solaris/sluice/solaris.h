/*
 * Solaris' Packet Filtering Hooks for modules of Sluice: net_instance_register(9F), hook_alloc(9F),
 * netinfo(9F) and their kin, as their manual pages have them.
 *
 *     cc -shared -fPIC -O2 -Iinclude/sluice/solaris -o mine.so mine.c
 *     sluice hook load ./mine.so
 *
 * The functions call a table that the dataplane hands over when it loads the file, so that the file
 * needs no symbol of the dataplane. docs/c-hooks.md says what is as it was and what is not: above all,
 * a hook runs on several workers at once, and only what a packet's callback may do there may it do.
 */
#ifndef SLUICE_SOLARIS_H
#define SLUICE_SOLARIS_H

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Types */

typedef unsigned char uchar_t;
typedef unsigned short ushort_t;
typedef unsigned int uint_t;
typedef unsigned long ulong_t;
#ifndef B_TRUE
typedef enum { B_FALSE = 0, B_TRUE = 1 } boolean_t;
#define B_TRUE B_TRUE
#endif

typedef int netid_t;
typedef int zoneid_t;
typedef uintptr_t phy_if_t;
typedef uint64_t lif_if_t;
typedef uint64_t net_if_t;
/* A protocol of an instance. What it points to nobody looks at: it is a number. */
typedef struct net_data *net_handle_t;

#define NETINFO_VERSION 1
#define HOOK_VERSION 1

#define DDI_SUCCESS 0
#define DDI_FAILURE (-1)

#define NHF_INET "NHF_INET"
#define NHF_INET6 "NHF_INET6"
#define NHF_ARP "NHF_ARP"

#define NH_PHYSICAL_IN "PHYSICAL_IN"
#define NH_PHYSICAL_OUT "PHYSICAL_OUT"
#define NH_FORWARDING "FORWARDING"
#define NH_LOOPBACK_IN "LOOPBACK_IN"
#define NH_LOOPBACK_OUT "LOOPBACK_OUT"
#define NH_NIC_EVENTS "NIC_EVENTS"
#define NH_OBSERVE "OBSERVING"
/* Of Sluice's own: the next hop is chosen. */
#define NH_ROUTE_DECISION "ROUTE_DECISION"

/* Messages */

typedef struct datab {
	uchar_t *db_base;
	uchar_t *db_lim;
	uchar_t db_ref;
	uchar_t db_type;
} dblk_t;

typedef struct msgb {
	struct msgb *b_next;
	struct msgb *b_prev;
	struct msgb *b_cont;
	uchar_t *b_rptr;
	uchar_t *b_wptr;
	dblk_t *b_datap;
	uchar_t b_band;
	uchar_t b_tag;
	ushort_t b_flag;
} mblk_t;

#define M_DATA 0x00
#define BPRI_LO 1
#define BPRI_MED 2
#define BPRI_HI 3
#define DB_BASE(mp) ((mp)->b_datap->db_base)
#define DB_LIM(mp) ((mp)->b_datap->db_lim)
#define DB_REF(mp) ((mp)->b_datap->db_ref)
#define DB_TYPE(mp) ((mp)->b_datap->db_type)
#define MBLKL(mp) ((ssize_t)((mp)->b_wptr - (mp)->b_rptr))
#define MBLKSIZE(mp) ((ssize_t)(DB_LIM(mp) - DB_BASE(mp)))
#define MBLKHEAD(mp) ((ssize_t)((mp)->b_rptr - DB_BASE(mp)))
#define MBLKTAIL(mp) ((ssize_t)(DB_LIM(mp) - (mp)->b_wptr))
#define MBLKIN(mp, off, len) \
	((off) <= MBLKL(mp) && (mp)->b_rptr + (off) + (len) <= (mp)->b_wptr)
#define OFFSET(base, p) ((ssize_t)((uchar_t *)(p) - (uchar_t *)(base)))

/* Hooks */

typedef uintptr_t hook_event_token_value_t;
typedef struct hook_event_int *hook_event_token_t;
typedef struct hook_data *hook_data_t;
typedef int (*hook_func_t)(hook_event_token_t, hook_data_t, void *);

typedef enum { HH_NONE = 0, HH_FIRST, HH_LAST, HH_BEFORE, HH_AFTER } hook_hint_t;

typedef struct hook {
	int h_version;
	hook_func_t h_func;
	char *h_name;
	uint_t h_flags;
	hook_hint_t h_hint;
	uintptr_t h_hintvalue;
	void *h_arg;
} hook_t;

#define HOOK_INIT(x, fn, n, a) \
	do { \
		(x) = hook_alloc(HOOK_VERSION); \
		if ((x) != NULL) { \
			(x)->h_func = (hook_func_t)(fn); \
			(x)->h_name = (char *)(n); \
			(x)->h_flags = 0; \
			(x)->h_hint = HH_NONE; \
			(x)->h_hintvalue = 0; \
			(x)->h_arg = (a); \
		} \
	} while (0)

typedef struct hook_pkt_event {
	net_handle_t hpe_protocol;
	phy_if_t hpe_ifp;
	phy_if_t hpe_ofp;
	void *hpe_hdr;
	mblk_t **hpe_mp;
	mblk_t *hpe_mb;
	int hpe_flags;
	void *hpe_reserved[2];
} hook_pkt_event_t;

#define HPE_MULTICAST 0x01
#define HPE_BROADCAST 0x02

typedef struct hook_pkt_observe {
	uint8_t hpo_version;
	uint8_t hpo_family;
	uint16_t hpo_htype;
	uint32_t hpo_pktlen;
	uint32_t hpo_ifindex;
	uint32_t hpo_grifindex;
	uint32_t hpo_zsrc;
	uint32_t hpo_zdst;
	mblk_t *hpo_pkt;
	void *hpo_ctx;
} hook_pkt_observe_t;

#define IPOBS_HOOK_INBOUND 0
#define IPOBS_HOOK_OUTBOUND 1
#define IPOBS_HOOK_LOCAL 2
#define ALL_ZONES UINT32_MAX

typedef enum {
	NE_PLUMB = 1,
	NE_UNPLUMB,
	NE_UP,
	NE_DOWN,
	NE_ADDRESS_CHANGE,
	NE_LIF_UP,
	NE_LIF_DOWN,
	NE_IFINDEX_CHANGE
} nic_event_t;

typedef struct hook_nic_event {
	net_handle_t hne_protocol;
	phy_if_t hne_nic;
	lif_if_t hne_lif;
	nic_event_t hne_event;
	void *hne_data;
	size_t hne_datalen;
} hook_nic_event_t;
#define hne_family hne_protocol

typedef enum { HN_NONE = 0, HN_REGISTER = 1, HN_UNREGISTER = 2 } hook_notify_cmd_t;
typedef int (*hook_notify_fn_t)(hook_notify_cmd_t, void *, const char *, const char *, const char *);

/* Instances */

typedef struct net_instance_s {
	int nin_version;
	char *nin_name;
	void *(*nin_create)(const netid_t);
	void (*nin_destroy)(const netid_t, void *);
	void (*nin_shutdown)(const netid_t, void *);
} net_instance_t;

/* Injecting */

typedef enum { NI_QUEUE_IN = 1, NI_QUEUE_OUT, NI_DIRECT_OUT } inject_t;

typedef struct net_inject_s {
	int ni_version;
	netid_t ni_netid;
	mblk_t *ni_packet;
	struct sockaddr_storage ni_addr;
	phy_if_t ni_physical;
} net_inject_t;

/* Interfaces */

typedef enum { NA_ADDRESS = 1, NA_PEER, NA_BROADCAST, NA_NETMASK } net_ifaddr_t;

#define LIFNAMSIZ 32
#define NET_HCK_NONE 0x00
#define NET_HCK_L3_FULL 0x01
#define NET_HCK_L3_PART 0x02
#define NET_HCK_L4_FULL 0x10
#define NET_HCK_L4_PART 0x20
#define NET_IS_HCK_L3_FULL(n) (((n) & NET_HCK_L3_FULL) != 0)
#define NET_IS_HCK_L3_PART(n) (((n) & NET_HCK_L3_PART) != 0)
#define NET_IS_HCK_L4_FULL(n) (((n) & NET_HCK_L4_FULL) != 0)
#define NET_IS_HCK_L4_PART(n) (((n) & NET_HCK_L4_PART) != 0)
#define NET_IS_HCK_L34_FULL(n) \
	(((n) & (NET_HCK_L3_FULL | NET_HCK_L4_FULL)) == (NET_HCK_L3_FULL | NET_HCK_L4_FULL))

/* Statistics */

#define KSTAT_STRLEN 31
#define KSTAT_TYPE_NAMED 1
#define KSTAT_DATA_UINT64 4
#define KSTAT_DATA_INT64 3
#define KSTAT_FLAG_PERSISTENT 0x08

typedef struct kstat_named {
	char name[KSTAT_STRLEN];
	uchar_t data_type;
	union {
		uint64_t ui64;
		int64_t i64;
		uint64_t ul;
	} value;
} kstat_named_t;

typedef struct kstat_s {
	char ks_module[KSTAT_STRLEN];
	char ks_name[KSTAT_STRLEN];
	char ks_class[KSTAT_STRLEN];
	int ks_instance;
	uchar_t ks_type;
	uchar_t ks_flags;
	uint_t ks_ndata;
	void *ks_data;
	void *ks_private;
	int (*ks_update)(struct kstat_s *, int);
	void *ks_lock;
} kstat_t;
typedef netid_t netstackid_t;

/* The table. Every file has one of its own, which the dataplane fills in. */

#define SLUICE_SOLARIS_ABI 1

struct sluice_solaris {
	uint32_t abi;
	uint32_t size;
	mblk_t *(*allocb)(size_t);
	void (*freeb)(mblk_t *);
	int (*pullupmsg)(mblk_t *, long);
	void (*log)(int, const char *);
	int (*instance_register)(const net_instance_t *);
	int (*instance_unregister)(const net_instance_t *);
	int (*instance_notify)(netid_t, hook_notify_fn_t, void *, int);
	net_handle_t (*protocol_lookup)(netid_t, const char *);
	net_handle_t (*protocol_walk)(netid_t, net_handle_t);
	int (*protocol_release)(net_handle_t);
	int (*protocol_notify)(net_handle_t, hook_notify_fn_t, void *, int);
	int (*event_notify)(net_handle_t, const char *, hook_notify_fn_t, void *, int);
	int (*hook_register)(net_handle_t, const char *, const hook_t *);
	int (*hook_unregister)(net_handle_t, const char *, const hook_t *);
	netid_t (*getnetid)(net_handle_t);
	int (*is_instance)(netid_t);
	phy_if_t (*phygetnext)(net_handle_t, phy_if_t);
	phy_if_t (*phylookup)(net_handle_t, const char *);
	int (*getifname)(net_handle_t, phy_if_t, char *, size_t);
	lif_if_t (*lifgetnext)(net_handle_t, phy_if_t, lif_if_t);
	int (*getlifaddr)(net_handle_t, phy_if_t, lif_if_t, int, const int *, void *);
	int (*getlifflags)(net_handle_t, phy_if_t, lif_if_t, uint64_t *);
	int (*getlifzone)(net_handle_t, phy_if_t, lif_if_t, netid_t *);
	int (*getmtu)(net_handle_t, phy_if_t, lif_if_t);
	int (*getpmtuenabled)(net_handle_t);
	phy_if_t (*routeto)(net_handle_t, const void *, void *);
	int (*inject)(net_handle_t, int, net_inject_t *);
	int (*ispartialchecksum)(net_handle_t, mblk_t *);
	int (*isvalidchecksum)(net_handle_t, mblk_t *);
	void (*kstat_install)(kstat_t *);
	void (*kstat_delete)(kstat_t *);
};

__attribute__((weak)) const struct sluice_solaris *sluice_solaris;
extern __attribute__((weak)) const uint32_t sluice_solaris_version;
const uint32_t sluice_solaris_version = SLUICE_SOLARIS_ABI;

/* What a module's file exports. */
#define _init sluice_module_init
#define _fini sluice_module_fini
#define _info sluice_module_info
int _init(void);
int _fini(void);

struct modinfo {
	int mi_id;
};
struct modlinkage {
	int ml_rev;
	void *ml_linkage[7];
};
#define MODREV_1 1

static inline int mod_install(struct modlinkage *linkage)
{
	(void)linkage;
	return 0;
}

static inline int mod_remove(struct modlinkage *linkage)
{
	(void)linkage;
	return 0;
}

static inline int mod_info(struct modlinkage *linkage, struct modinfo *info)
{
	(void)linkage;
	(void)info;
	return 1;
}

/* Memory. Not out of a packet's callback: it may wait there. */

#define KM_SLEEP 0
#define KM_NOSLEEP 1

static inline void *kmem_alloc(size_t size, int flag)
{
	(void)flag;
	return malloc(size);
}

static inline void *kmem_zalloc(size_t size, int flag)
{
	(void)flag;
	return calloc(1, size);
}

static inline void kmem_free(void *memory, size_t size)
{
	(void)size;
	free(memory);
}

#define bcopy(from, to, size) ((void)memmove((to), (from), (size)))
#define bzero(to, size) ((void)memset((to), 0, (size)))
#define bcmp(one, other, size) memcmp((one), (other), (size))

/* Words for the log, from the agent's thread; from a packet's callback they are left out. */

#define CE_CONT 0
#define CE_NOTE 1
#define CE_WARN 2
#define CE_PANIC 3

__attribute__((format(printf, 2, 3))) static inline void cmn_err(int level, const char *format, ...)
{
	char text[256];
	va_list words;

	va_start(words, format);
	vsnprintf(text, sizeof(text), format, words);
	va_end(words);
	sluice_solaris->log(level, text);
}

/* Numbers that several workers change */

#define atomic_inc_32_nv(p) __atomic_add_fetch((p), 1, __ATOMIC_SEQ_CST)
#define atomic_inc_64_nv(p) __atomic_add_fetch((p), 1, __ATOMIC_SEQ_CST)
#define atomic_inc_uint_nv(p) __atomic_add_fetch((p), 1, __ATOMIC_SEQ_CST)
#define atomic_inc_ulong_nv(p) __atomic_add_fetch((p), 1, __ATOMIC_SEQ_CST)
#define atomic_dec_64_nv(p) __atomic_sub_fetch((p), 1, __ATOMIC_SEQ_CST)
#define atomic_add_64_nv(p, n) __atomic_add_fetch((p), (n), __ATOMIC_SEQ_CST)
#define atomic_inc_32(p) ((void)atomic_inc_32_nv(p))
#define atomic_inc_64(p) ((void)atomic_inc_64_nv(p))
#define atomic_inc_uint(p) ((void)atomic_inc_uint_nv(p))
#define atomic_inc_ulong(p) ((void)atomic_inc_ulong_nv(p))
#define atomic_dec_64(p) ((void)atomic_dec_64_nv(p))
#define atomic_add_64(p, n) ((void)atomic_add_64_nv((p), (n)))

/* Messages: allocb(9F), freemsg(9F), msgdsize(9F), pullupmsg(9F), … */

static inline mblk_t *allocb(size_t size, uint_t priority)
{
	(void)priority;
	return sluice_solaris->allocb(size);
}

static inline void freeb(mblk_t *block)
{
	sluice_solaris->freeb(block);
}

static inline void freemsg(mblk_t *message)
{
	while (message != NULL) {
		mblk_t *rest = message->b_cont;

		freeb(message);
		message = rest;
	}
}

static inline size_t msgdsize(const mblk_t *message)
{
	size_t size = 0;

	for (; message != NULL; message = message->b_cont)
		size += (size_t)MBLKL(message);
	return size;
}
#define msgsize(message) msgdsize(message)

static inline mblk_t *copyb(const mblk_t *block)
{
	mblk_t *copy = allocb((size_t)MBLKL(block), BPRI_MED);

	if (copy != NULL) {
		memcpy(copy->b_rptr, block->b_rptr, (size_t)MBLKL(block));
		copy->b_wptr += MBLKL(block);
	}
	return copy;
}

static inline mblk_t *copymsg(const mblk_t *message)
{
	mblk_t *copy = NULL;
	mblk_t **last = &copy;

	for (; message != NULL; message = message->b_cont) {
		*last = copyb(message);
		if (*last == NULL) {
			freemsg(copy);
			return NULL;
		}
		last = &(*last)->b_cont;
	}
	return copy;
}
/* Nothing is shared between two messages here: a duplicate is a copy. */
#define dupb(block) copyb(block)
#define dupmsg(message) copymsg(message)

static inline void linkb(mblk_t *message, mblk_t *tail)
{
	while (message->b_cont != NULL)
		message = message->b_cont;
	message->b_cont = tail;
}

static inline mblk_t *unlinkb(mblk_t *message)
{
	mblk_t *rest = message->b_cont;

	message->b_cont = NULL;
	return rest;
}

static inline int pullupmsg(mblk_t *message, ssize_t length)
{
	return sluice_solaris->pullupmsg(message, (long)length);
}

static inline mblk_t *msgpullup(mblk_t *message, ssize_t length)
{
	mblk_t *copy = copymsg(message);

	if (copy != NULL && !pullupmsg(copy, length)) {
		freemsg(copy);
		return NULL;
	}
	return copy;
}

static inline int adjmsg(mblk_t *message, ssize_t length)
{
	size_t wanted = (size_t)(length < 0 ? -length : length);

	if (msgdsize(message) < wanted)
		return 0;
	if (length >= 0) {
		for (; wanted > 0; message = message->b_cont) {
			size_t here = (size_t)MBLKL(message);
			size_t cut = here < wanted ? here : wanted;

			message->b_rptr += cut;
			wanted -= cut;
		}
	} else {
		size_t left = msgdsize(message) - wanted;

		for (; message != NULL; message = message->b_cont) {
			size_t here = (size_t)MBLKL(message);

			if (here > left)
				message->b_wptr = message->b_rptr + left;
			left -= here < left ? here : left;
		}
	}
	return 1;
}

/* Instances: net_instance_alloc(9F), net_instance_register(9F), … */

static inline net_instance_t *net_instance_alloc(const int version)
{
	net_instance_t *instance;

	if (version != NETINFO_VERSION)
		return NULL;
	instance = (net_instance_t *)calloc(1, sizeof(*instance));
	if (instance != NULL)
		instance->nin_version = version;
	return instance;
}

static inline void net_instance_free(net_instance_t *instance)
{
	free(instance);
}

static inline int net_instance_register(net_instance_t *instance)
{
	return sluice_solaris->instance_register(instance);
}

static inline int net_instance_unregister(net_instance_t *instance)
{
	return sluice_solaris->instance_unregister(instance);
}

static inline int net_instance_notify_register(netid_t id, hook_notify_fn_t callback, void *arg)
{
	return sluice_solaris->instance_notify(id, callback, arg, 1);
}

static inline int net_instance_notify_unregister(netid_t id, hook_notify_fn_t callback)
{
	return sluice_solaris->instance_notify(id, callback, NULL, 0);
}

static inline netid_t net_zoneidtonetid(zoneid_t zone)
{
	return sluice_solaris->is_instance(zone) ? zone : -1;
}

static inline zoneid_t net_netidtozonid(netid_t id)
{
	return sluice_solaris->is_instance(id) ? id : -1;
}
#define net_getzoneidbynetid(id) net_netidtozonid(id)

/* Protocols: net_protocol_lookup(9F), … */

static inline net_handle_t net_protocol_lookup(netid_t id, const char *name)
{
	return sluice_solaris->protocol_lookup(id, name);
}

static inline int net_protocol_release(net_handle_t protocol)
{
	return sluice_solaris->protocol_release(protocol);
}

static inline net_handle_t net_protocol_walk(netid_t id, net_handle_t after)
{
	return sluice_solaris->protocol_walk(id, after);
}

static inline int net_protocol_notify_register(
    net_handle_t protocol, hook_notify_fn_t callback, void *arg)
{
	return sluice_solaris->protocol_notify(protocol, callback, arg, 1);
}

static inline int net_protocol_notify_unregister(net_handle_t protocol, hook_notify_fn_t callback)
{
	return sluice_solaris->protocol_notify(protocol, callback, NULL, 0);
}

static inline int net_event_notify_register(
    net_handle_t protocol, const char *event, hook_notify_fn_t callback, void *arg)
{
	return sluice_solaris->event_notify(protocol, event, callback, arg, 1);
}

static inline int net_event_notify_unregister(
    net_handle_t protocol, const char *event, hook_notify_fn_t callback)
{
	return sluice_solaris->event_notify(protocol, event, callback, NULL, 0);
}

static inline netid_t net_getnetid(net_handle_t protocol)
{
	return sluice_solaris->getnetid(protocol);
}

/* Hooks: hook_alloc(9F), net_hook_register(9F), … */

static inline hook_t *hook_alloc(const int version)
{
	hook_t *hook;

	if (version != HOOK_VERSION)
		return NULL;
	hook = (hook_t *)calloc(1, sizeof(*hook));
	if (hook != NULL)
		hook->h_version = version;
	return hook;
}

static inline void hook_free(hook_t *hook)
{
	free(hook);
}

static inline int net_hook_register(net_handle_t protocol, const char *event, hook_t *hook)
{
	return sluice_solaris->hook_register(protocol, event, hook);
}

static inline int net_hook_unregister(net_handle_t protocol, const char *event, hook_t *hook)
{
	return sluice_solaris->hook_unregister(protocol, event, hook);
}

/* Interfaces, addresses, routes: netinfo(9F) */

static inline phy_if_t net_phygetnext(net_handle_t protocol, phy_if_t after)
{
	return sluice_solaris->phygetnext(protocol, after);
}

static inline phy_if_t net_phylookup(net_handle_t protocol, const char *name)
{
	return sluice_solaris->phylookup(protocol, name);
}

static inline int net_getifname(net_handle_t protocol, phy_if_t nic, char *name, const size_t room)
{
	return sluice_solaris->getifname(protocol, nic, name, room);
}

static inline lif_if_t net_lifgetnext(net_handle_t protocol, phy_if_t nic, lif_if_t after)
{
	return sluice_solaris->lifgetnext(protocol, nic, after);
}

static inline int net_getlifaddr(net_handle_t protocol, phy_if_t nic, lif_if_t lif, int count,
    net_ifaddr_t kinds[], void *addresses)
{
	return sluice_solaris->getlifaddr(protocol, nic, lif, count, (const int *)kinds, addresses);
}

static inline int net_getlifflags(
    net_handle_t protocol, phy_if_t nic, lif_if_t lif, uint64_t *flags)
{
	return sluice_solaris->getlifflags(protocol, nic, lif, flags);
}

static inline int net_getlifzone(
    net_handle_t protocol, phy_if_t nic, lif_if_t lif, zoneid_t *zone)
{
	return sluice_solaris->getlifzone(protocol, nic, lif, zone);
}

static inline int net_getmtu(net_handle_t protocol, phy_if_t nic, lif_if_t lif)
{
	return sluice_solaris->getmtu(protocol, nic, lif);
}

static inline int net_getpmtuenabled(net_handle_t protocol)
{
	return sluice_solaris->getpmtuenabled(protocol);
}

static inline phy_if_t net_routeto(
    net_handle_t protocol, struct sockaddr *address, struct sockaddr *next)
{
	return sluice_solaris->routeto(protocol, address, next);
}

static inline int net_ispartialchecksum(net_handle_t protocol, mblk_t *message)
{
	return sluice_solaris->ispartialchecksum(protocol, message);
}

static inline int net_isvalidchecksum(net_handle_t protocol, mblk_t *message)
{
	return sluice_solaris->isvalidchecksum(protocol, message);
}

/* Injecting: net_inject(9F) */

static inline net_inject_t *net_inject_alloc(const int version)
{
	net_inject_t *inject;

	if (version != NETINFO_VERSION)
		return NULL;
	inject = (net_inject_t *)calloc(1, sizeof(*inject));
	if (inject != NULL)
		inject->ni_version = version;
	return inject;
}

static inline void net_inject_free(net_inject_t *inject)
{
	free(inject);
}

static inline int net_inject(net_handle_t protocol, inject_t style, net_inject_t *packet)
{
	return sluice_solaris->inject(protocol, (int)style, packet);
}

/* Statistics: net_kstat_create(9F), kstat_named_init(9F) */

static inline kstat_t *net_kstat_create(netid_t id, const char *module, int instance,
    const char *name, const char *class_of, uchar_t type, ulong_t count, uchar_t flags)
{
	kstat_t *made;

	(void)id;
	if (type != KSTAT_TYPE_NAMED)
		return NULL;
	made = (kstat_t *)calloc(1, sizeof(*made) + count * sizeof(kstat_named_t));
	if (made == NULL)
		return NULL;
	snprintf(made->ks_module, sizeof(made->ks_module), "%s", module);
	snprintf(made->ks_name, sizeof(made->ks_name), "%s", name);
	snprintf(made->ks_class, sizeof(made->ks_class), "%s", class_of);
	made->ks_instance = instance;
	made->ks_type = type;
	made->ks_flags = flags;
	made->ks_ndata = (uint_t)count;
	made->ks_data = made + 1;
	return made;
}

static inline void net_kstat_install(kstat_t *statistics)
{
	sluice_solaris->kstat_install(statistics);
}

static inline void net_kstat_delete(netid_t id, kstat_t *statistics)
{
	(void)id;
	sluice_solaris->kstat_delete(statistics);
	free(statistics);
}

static inline void kstat_named_init(kstat_named_t *named, const char *name, uchar_t type)
{
	memset(named, 0, sizeof(*named));
	snprintf(named->name, sizeof(named->name), "%s", name);
	named->data_type = type;
}

#ifdef __cplusplus
}
#endif

#endif /* SLUICE_SOLARIS_H */
