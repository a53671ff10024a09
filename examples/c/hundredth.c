/*
 * Every hundredth packet is logged and dropped: the example of the article on Solaris' Packet
 * Filtering Hooks (2009), for Sluice's own C interface.
 *
 *     cc -shared -fPIC -O2 -Iinclude -o hundredth.so examples/c/hundredth.c
 *     sluice hook load ./hundredth.so --event physical-in --set every=100
 */

#include <sluice/hook.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is kept for one worker: no other thread sees it, so that it needs no lock. */
struct hundredth {
	unsigned long every;
	unsigned long seen;
};

/* On the agent's thread: here there is time, and memory may be allocated. */
static void *make(const struct sluice_load *load)
{
	struct hundredth *mine = calloc(1, sizeof(*mine));

	if (mine == NULL)
		return NULL;
	mine->every = 100;
	for (const struct sluice_told *told = load->settings; told->key != NULL; told++) {
		char *end;

		mine->every = strtoul(told->value, &end, 10);
		if (*end != '\0' || mine->every == 0) {
			snprintf(load->error, load->error_room,
			    "setting `%s`: `%s`: 1 or more is possible", told->key, told->value);
			free(mine);
			return NULL;
		}
	}
	return mine;
}

/* On the worker's thread, for each packet: no waiting, no allocation, no call of the kernel. */
static uint32_t packet(void *context, struct sluice_packet *packet)
{
	struct hundredth *mine = context;

	if (++mine->seen < mine->every)
		return SLUICE_CONTINUE;
	mine->seen = 0;
	/* The agent writes the line, so that the packet's path never waits for a log. */
	packet->calls->log(packet);
	return SLUICE_DROP_AS + 0;
}

static const struct sluice_setting settings[] = {
	{ "every", "which one is dropped; 1 drops all of them. 100 unless given" },
	{ NULL, NULL },
};

static const char *const counters[] = { "hundredth", NULL };

const struct sluice_hook_program sluice_hook_program = {
	.abi = SLUICE_HOOK_ABI,
	.size = sizeof(struct sluice_hook_program),
	.name = "hundredth-c",
	.summary = "logs and drops every hundredth packet of each worker, in C",
	.settings = settings,
	.counters = counters,
	.events = SLUICE_PHYSICAL_IN | SLUICE_FORWARDING | SLUICE_PHYSICAL_OUT,
	.make = make,
	.drop = free,
	.packet = packet,
};
