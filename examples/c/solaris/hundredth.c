/*
 * Every hundredth packet is dropped, in the flow of the article on Solaris' Packet Filtering Hooks
 * (2009): a module that comes to be in every instance; a notification that waits for INET; one that
 * waits for PHYSICAL_IN; a hook.
 *
 *     cc -shared -fPIC -O2 -Iinclude/sluice/solaris -o hundredth.so examples/c/solaris/hundredth.c
 *     sluice hook load ./hundredth.so
 *
 * As the manual pages have it, and not as the article does, a notification of a protocol brings its
 * name as the third name.
 */

#include <sys/atomic.h>
#include <sys/cmn_err.h>
#include <sys/ddi.h>
#include <sys/hook.h>
#include <sys/hook_event.h>
#include <sys/kmem.h>
#include <sys/kstat.h>
#include <sys/modctl.h>
#include <sys/neti.h>
#include <sys/stream.h>
#include <sys/sunddi.h>

/* Of so many packets one is dropped. */
#ifndef EVERY
#define EVERY 100
#endif

/* What is kept for an instance. */
typedef struct hundredth {
	netid_t id;
	net_handle_t inet;
	hook_t *hook;
	kstat_t *statistics;
	/* Of all workers: each of them runs the hook, at the same time. */
	uint64_t seen;
} hundredth_t;

static net_instance_t *instance;

static int drop_hundredth(hook_event_token_t token, hook_data_t data, void *arg)
{
	hook_pkt_event_t *packet = (hook_pkt_event_t *)data;
	hundredth_t *mine = arg;
	kstat_named_t *dropped = mine->statistics->ks_data;

	(void)token;
	if (atomic_inc_64_nv(&mine->seen) % EVERY != 0)
		return 0;
	atomic_inc_64(&dropped->value.ui64);
	/* The packet is the hook's now: it is freed, and nobody is to look at it any more. */
	freemsg(*packet->hpe_mp);
	*packet->hpe_mp = NULL;
	packet->hpe_mb = NULL;
	packet->hpe_hdr = NULL;
	return 1;
}

/* An event of INET has appeared, or has gone. */
static int new_event(hook_notify_cmd_t cmd, void *arg, const char *protocol, const char *unused,
    const char *event)
{
	hundredth_t *mine = arg;
	int error;

	(void)protocol;
	(void)unused;
	if (cmd != HN_REGISTER || strcmp(event, NH_PHYSICAL_IN) != 0)
		return 0;
	error = net_hook_register(mine->inet, event, mine->hook);
	if (error != 0)
		cmn_err(CE_WARN, "the hook is not registered: error %d", error);
	return 0;
}

/* A protocol of an instance has appeared, or has gone. */
static int new_protocol(hook_notify_cmd_t cmd, void *arg, const char *id, const char *unused,
    const char *protocol)
{
	hundredth_t *mine = arg;

	(void)id;
	(void)unused;
	if (strcmp(protocol, NHF_INET) != 0)
		return 0;
	if (cmd == HN_REGISTER) {
		mine->inet = net_protocol_lookup(mine->id, protocol);
		if (mine->inet != NULL)
			(void)net_protocol_notify_register(mine->inet, new_event, mine);
	}
	return 0;
}

static void *create(const netid_t id)
{
	hundredth_t *mine = kmem_zalloc(sizeof(*mine), KM_SLEEP);

	mine->id = id;
	HOOK_INIT(mine->hook, drop_hundredth, "hundredth", mine);
	mine->statistics = net_kstat_create(
	    id, "hundredth", id, "hundredth", "misc", KSTAT_TYPE_NAMED, 1, 0);
	if (mine->hook == NULL || mine->statistics == NULL)
		return NULL;
	kstat_named_init(mine->statistics->ks_data, "dropped", KSTAT_DATA_UINT64);
	net_kstat_install(mine->statistics);
	/* Calls back for what is there already, before it returns. */
	(void)net_instance_notify_register(id, new_protocol, mine);
	cmn_err(CE_NOTE, "hundredth has come to be in instance %d", id);
	return mine;
}

static void shutdown_in(const netid_t id, void *arg)
{
	hundredth_t *mine = arg;

	if (mine->inet != NULL) {
		(void)net_hook_unregister(mine->inet, NH_PHYSICAL_IN, mine->hook);
		(void)net_protocol_notify_unregister(mine->inet, new_event);
		(void)net_protocol_release(mine->inet);
	}
	(void)net_instance_notify_unregister(id, new_protocol);
	net_kstat_delete(id, mine->statistics);
}

static void destroy(const netid_t id, void *arg)
{
	hundredth_t *mine = arg;

	(void)id;
	hook_free(mine->hook);
	kmem_free(mine, sizeof(*mine));
}

static struct modlinkage linkage = { MODREV_1, { NULL } };

int _init(void)
{
	int error;

	instance = net_instance_alloc(NETINFO_VERSION);
	if (instance == NULL)
		return ENOMEM;
	instance->nin_name = "hundredth";
	instance->nin_create = create;
	instance->nin_shutdown = shutdown_in;
	instance->nin_destroy = destroy;
	error = mod_install(&linkage);
	if (error == 0 && net_instance_register(instance) != DDI_SUCCESS)
		error = EEXIST;
	if (error != 0)
		net_instance_free(instance);
	return error;
}

int _fini(void)
{
	int error = mod_remove(&linkage);

	if (error == 0) {
		(void)net_instance_unregister(instance);
		net_instance_free(instance);
	}
	return error;
}

int _info(struct modinfo *info)
{
	return mod_info(&linkage, info);
}
