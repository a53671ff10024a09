/*
 * Every function of the Solaris interface, called from a module as consumers call them. What comes of
 * it is counted by name, so that a test sees which did not answer as its manual page says.
 */

#include <sys/atomic.h>
#include <sys/cmn_err.h>
#include <sys/hook.h>
#include <sys/hook_event.h>
#include <sys/kmem.h>
#include <sys/kstat.h>
#include <sys/modctl.h>
#include <sys/neti.h>
#include <sys/stream.h>
#include <sys/strsun.h>

enum { RIGHT, WRONG, PACKETS, NICS, NOTICES, COUNTERS };
static const char *const names[COUNTERS] = { "right", "wrong", "packets", "nics", "notices" };

static net_instance_t *instance;
static kstat_t *statistics;
static kstat_named_t *counted;
static hook_t *in, *nic, *observer;
static uint64_t prepended;

/* Counts whether it is so, and says which was not, from where it may be said. */
static void holds(int so, const char *what)
{
	atomic_inc_64(&counted[so ? RIGHT : WRONG].value.ui64);
	if (!so)
		cmn_err(CE_WARN, "it does not hold that %s", what);
}
#define HOLDS(so) holds((so), #so)

/* The questions of netinfo(9F), which both sides may ask. */
static void ask(net_handle_t inet)
{
	net_ifaddr_t kinds[] = { NA_ADDRESS, NA_NETMASK };
	struct sockaddr_in answers[2], there = { .sin_family = AF_INET }, next;
	phy_if_t lan = net_phylookup(inet, "lan");
	lif_if_t lif;
	uint64_t flags;
	zoneid_t zone;
	char name[LIFNAMSIZ];
	int seen = 0;

	for (phy_if_t at = net_phygetnext(inet, 0); at != 0; at = net_phygetnext(inet, at))
		seen++;
	HOLDS(seen == 2);
	HOLDS(lan != 0);
	HOLDS(net_phylookup(inet, "nothing") == 0);
	HOLDS(net_getifname(inet, lan, name, sizeof(name)) == 0 && strcmp(name, "lan") == 0);
	HOLDS(net_getifname(inet, lan, name, 3) == 0 && strcmp(name, "la") == 0);
	HOLDS(net_getifname(inet, 99, name, sizeof(name)) == 1);
	lif = net_lifgetnext(inet, lan, 0);
	HOLDS(lif == 1);
	HOLDS(net_lifgetnext(inet, lan, lif) == 0);
	HOLDS(net_getlifaddr(inet, lan, lif, 2, kinds, answers) == 0);
	HOLDS(answers[0].sin_family == AF_INET && ntohl(answers[0].sin_addr.s_addr) == 0x0a000101);
	HOLDS(ntohl(answers[1].sin_addr.s_addr) == 0xffffff00);
	HOLDS(net_getlifflags(inet, lan, lif, &flags) == 0 && (flags & 1) != 0);
	HOLDS(net_getlifzone(inet, lan, lif, &zone) == 0 && zone == net_getnetid(inet));
	HOLDS(net_getmtu(inet, lan, lif) == 1500);
	HOLDS(net_getmtu(inet, 99, lif) == 0);
	HOLDS(net_getpmtuenabled(inet) == 1);
	there.sin_addr.s_addr = htonl(0x0a000202);
	HOLDS(net_routeto(inet, (struct sockaddr *)&there, (struct sockaddr *)&next) ==
	    net_phylookup(inet, "wan"));
	HOLDS(next.sin_addr.s_addr == there.sin_addr.s_addr);
	HOLDS(net_zoneidtonetid(net_netidtozonid(net_getnetid(inet))) == net_getnetid(inet));
}

/* Messages, made and taken apart. */
static void messages(mblk_t *packet)
{
	mblk_t *copy = copymsg(packet), *tail = allocb(64, BPRI_MED);
	size_t size = msgdsize(packet);

	if (copy == NULL || tail == NULL) {
		HOLDS(copy != NULL && tail != NULL);
		return;
	}
	HOLDS(msgdsize(copy) == size && memcmp(copy->b_rptr, packet->b_rptr, size) == 0);
	memset(tail->b_rptr, 7, 64);
	tail->b_wptr += 64;
	linkb(copy, tail);
	HOLDS(msgdsize(copy) == size + 64);
	HOLDS(pullupmsg(copy, -1) && copy->b_cont == NULL && MBLKL(copy) == (ssize_t)size + 64);
	HOLDS(copy->b_rptr[size] == 7);
	HOLDS(adjmsg(copy, 20) && adjmsg(copy, -64) && msgdsize(copy) == size - 20);
	HOLDS(!adjmsg(copy, (ssize_t)size));
	freemsg(copy);
	HOLDS(allocb(1 << 20, BPRI_MED) == NULL);
}

static uint16_t sum(const uint8_t *bytes, size_t length)
{
	uint32_t total = 0;

	for (size_t at = 0; at + 1 < length; at += 2)
		total += (uint32_t)bytes[at] << 8 | bytes[at + 1];
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)~total;
}

static int packet_in(hook_event_token_t token, hook_data_t data, void *arg)
{
	hook_pkt_event_t *event = (hook_pkt_event_t *)data;
	mblk_t *mp = *event->hpe_mp, *header;
	net_inject_t *inject;
	uint64_t seen = atomic_inc_64_nv(&counted[PACKETS].value.ui64);
	uint16_t checksum;

	(void)token;
	if (arg != &instance || mp != event->hpe_mb || event->hpe_hdr != mp->b_rptr)
		HOLDS(!"the event is as it should be");
	if (seen == 1) {
		HOLDS(event->hpe_ofp == 0 && event->hpe_flags == 0 && event->hpe_ifp != 0);
		HOLDS(net_isvalidchecksum(event->hpe_protocol, mp) == 1);
		HOLDS(net_ispartialchecksum(event->hpe_protocol, mp) == NET_HCK_NONE);
		HOLDS(net_hook_register(event->hpe_protocol, NH_PHYSICAL_OUT, in) != 0);
		ask(event->hpe_protocol);
		messages(mp);
	}
	if (seen == 2) {
		/* Kept, and injected at once: it comes by here again. */
		*event->hpe_mp = NULL;
		event->hpe_mb = NULL;
		event->hpe_hdr = NULL;
		inject = net_inject_alloc(NETINFO_VERSION);
		inject->ni_packet = mp;
		inject->ni_physical = event->hpe_ifp;
		HOLDS(net_inject(event->hpe_protocol, NI_QUEUE_IN, inject) == 0);
		net_inject_free(inject);
		return 1;
	}
	if (seen == 4) {
		/* A header of its own in front of the rest: the type of service is another. */
		header = allocb(20, BPRI_MED);
		memcpy(header->b_rptr, mp->b_rptr, 20);
		header->b_wptr += 20;
		header->b_rptr[1] = 0xb8;
		header->b_rptr[10] = header->b_rptr[11] = 0;
		checksum = sum(header->b_rptr, 20);
		header->b_rptr[10] = (uint8_t)(checksum >> 8);
		header->b_rptr[11] = (uint8_t)checksum;
		mp->b_rptr += 20;
		linkb(header, mp);
		*event->hpe_mp = header;
		prepended++;
	}
	return 0;
}

static int nic_event(hook_event_token_t token, hook_data_t data, void *arg)
{
	hook_nic_event_t *event = (hook_nic_event_t *)data;

	(void)token;
	(void)arg;
	HOLDS(event->hne_event >= NE_PLUMB && event->hne_event <= NE_ADDRESS_CHANGE);
	HOLDS(event->hne_nic != 0);
	atomic_inc_64(&counted[NICS].value.ui64);
	return 0;
}

static int observe(hook_event_token_t token, hook_data_t data, void *arg)
{
	hook_pkt_observe_t *seen = (hook_pkt_observe_t *)data;

	(void)token;
	(void)arg;
	if (seen->hpo_pktlen != msgdsize(seen->hpo_pkt) || seen->hpo_family != AF_INET)
		HOLDS(!"what is observed is an IPv4 packet");
	return 0;
}

static int noticed(hook_notify_cmd_t cmd, void *arg, const char *first, const char *second,
    const char *third)
{
	(void)first;
	(void)second;
	(void)third;
	(void)cmd;
	(void)arg;
	atomic_inc_64(&counted[NOTICES].value.ui64);
	return 0;
}

static int of_hooks(hook_notify_cmd_t cmd, void *arg, const char *protocol, const char *event,
    const char *hook)
{
	(void)cmd;
	(void)arg;
	HOLDS(strcmp(protocol, NHF_INET) == 0 && strcmp(event, NH_PHYSICAL_IN) == 0);
	HOLDS(strcmp(hook, "all-in") == 0);
	return 0;
}

static int of_events(hook_notify_cmd_t cmd, void *arg, const char *protocol, const char *none,
    const char *event)
{
	net_handle_t inet = arg;
	hook_t wrong;

	HOLDS(strcmp(protocol, NHF_INET) == 0 && none == NULL);
	if (cmd != HN_REGISTER)
		return 0;
	if (strcmp(event, NH_NIC_EVENTS) == 0)
		HOLDS(net_hook_register(inet, event, nic) == 0);
	if (strcmp(event, NH_OBSERVE) == 0)
		HOLDS(net_hook_register(inet, event, observer) == 0);
	if (strcmp(event, NH_PHYSICAL_IN) != 0)
		return 0;
	HOLDS(net_event_notify_register(inet, event, of_hooks, NULL) == 0);
	HOLDS(net_event_notify_register(inet, event, of_hooks, NULL) == EEXIST);
	HOLDS(net_event_notify_register(inet, "NOTHING", of_hooks, NULL) == ENXIO);
	HOLDS(net_hook_unregister(inet, event, in) == ENXIO);
	HOLDS(net_hook_register(inet, event, in) == 0);
	HOLDS(net_hook_register(inet, event, in) == EEXIST);
	HOLDS(net_hook_register(inet, "NOTHING", in) == ENXIO);
	wrong = *in;
	wrong.h_name = "another";
	wrong.h_flags = 1;
	HOLDS(net_hook_register(inet, event, &wrong) == EINVAL);
	wrong.h_flags = 0;
	wrong.h_version = 2;
	HOLDS(net_hook_register(inet, event, &wrong) == EINVAL);
	return 0;
}

static int of_protocols(hook_notify_cmd_t cmd, void *arg, const char *id, const char *none,
    const char *protocol)
{
	netid_t here = *(netid_t *)arg;
	net_handle_t inet, arp;

	HOLDS(atoi(id) == here && none == NULL);
	if (cmd != HN_REGISTER || strcmp(protocol, NHF_INET) != 0)
		return 0;
	inet = net_protocol_lookup(here, protocol);
	HOLDS(inet != NULL && net_getnetid(inet) == here);
	HOLDS(net_protocol_walk(here, NULL) == inet && net_protocol_release(inet) == 0);
	HOLDS(net_protocol_lookup(here, "NHF_NOTHING") == NULL);
	arp = net_protocol_lookup(here, NHF_ARP);
	HOLDS(arp == NULL || net_getmtu(arp, 1, 1) == -1);
	HOLDS(net_protocol_notify_register(inet, of_events, inet) == 0);
	HOLDS(net_protocol_notify_register(inet, noticed, inet) == 0);
	HOLDS(net_protocol_notify_unregister(inet, noticed) == 0);
	HOLDS(net_protocol_notify_unregister(inet, noticed) == ESRCH);
	return 0;
}

static void *create(const netid_t id)
{
	netid_t *kept = kmem_alloc(sizeof(*kept), KM_SLEEP);

	*kept = id;
	if (id == 0)
		HOLDS(net_instance_notify_register(id, of_protocols, kept) == 0);
	return kept;
}

static void shutdown_in(const netid_t id, void *kept)
{
	HOLDS(*(netid_t *)kept == id);
	if (id == 0) {
		HOLDS(net_instance_notify_unregister(id, of_protocols) == 0);
		HOLDS(net_instance_notify_unregister(id, of_protocols) == ESRCH);
	}
}

static void destroy(const netid_t id, void *kept)
{
	(void)id;
	kmem_free(kept, sizeof(netid_t));
}

int _init(void)
{
	net_instance_t *second;

	statistics = net_kstat_create(0, "all", 0, "all", "misc", KSTAT_TYPE_NAMED, COUNTERS, 0);
	counted = statistics->ks_data;
	for (int at = 0; at < COUNTERS; at++)
		kstat_named_init(&counted[at], names[at], KSTAT_DATA_UINT64);
	net_kstat_install(statistics);
	HOLDS(net_instance_alloc(0) == NULL && hook_alloc(2) == NULL && net_inject_alloc(0) == NULL);
	HOOK_INIT(in, packet_in, "all-in", &instance);
	HOOK_INIT(nic, nic_event, "all-nic", NULL);
	HOOK_INIT(observer, observe, "all-observer", NULL);
	instance = net_instance_alloc(NETINFO_VERSION);
	instance->nin_name = "all";
	instance->nin_create = create;
	HOLDS(net_instance_register(instance) == DDI_FAILURE);
	instance->nin_destroy = destroy;
	instance->nin_shutdown = shutdown_in;
	if (net_instance_register(instance) != DDI_SUCCESS)
		return EEXIST;
	second = net_instance_alloc(NETINFO_VERSION);
	*second = *instance;
	HOLDS(net_instance_register(second) == DDI_FAILURE);
	HOLDS(net_instance_unregister(second) == DDI_FAILURE);
	net_instance_free(second);
	return 0;
}

int _fini(void)
{
	HOLDS(net_instance_unregister(instance) == DDI_SUCCESS);
	HOLDS(prepended == 1);
	cmn_err(CE_NOTE, "all: %lu right, %lu wrong", (ulong_t)counted[RIGHT].value.ui64,
	    (ulong_t)counted[WRONG].value.ui64);
	net_instance_free(instance);
	hook_free(in);
	hook_free(nic);
	hook_free(observer);
	net_kstat_delete(0, statistics);
	return 0;
}
