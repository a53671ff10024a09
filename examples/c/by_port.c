/*
 * Packets to a port take the way of another table.
 *
 *     cc -shared -fPIC -O2 -Iinclude -o by_port.so examples/c/by_port.c
 *     sluice hook load ./by_port.so --event route-decision --set port=443 --set table=dsl
 */

#include <sluice/hook.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHOSEN, NO_WAY };	/* places in counters */

struct by_port {
	uint16_t port;
	char table[64];
};

static void *make(const struct sluice_load *load)
{
	struct by_port *mine = calloc(1, sizeof(*mine));

	if (mine == NULL)
		return NULL;
	for (const struct sluice_told *told = load->settings; told->key != NULL; told++) {
		if (strcmp(told->key, "port") == 0) {
			char *end;
			unsigned long port = strtoul(told->value, &end, 10);

			if (*end == '\0' && port <= UINT16_MAX)
				mine->port = (uint16_t)port;
		} else {
			snprintf(mine->table, sizeof(mine->table), "%s", told->value);
		}
	}
	if (mine->port == 0 || mine->table[0] == '\0') {
		snprintf(load->error, load->error_room, "say `port` (1 to 65535) and `table`");
		free(mine);
		return NULL;
	}
	return mine;
}

static void burst(void *context, struct sluice_packet *const *packets, uint32_t *verdicts,
    uint32_t count)
{
	const struct by_port *mine = context;

	(void)verdicts;	/* all of them go on */
	for (uint32_t i = 0; i < count; i++) {
		const struct sluice_calls *calls = packets[i]->calls;
		struct sluice_tuple tuple;

		if (calls->tuple(packets[i], &tuple) < 0 || tuple.destination_port != mine->port)
			continue;
		/* Numbers of tables hold for one generation, so that it is asked for each time. What
		 * cannot be chosen leaves the packet on the way that the router has found. */
		int32_t table = calls->table_named(packets[i], mine->table);

		calls->count(packets[i],
		    table >= 0 && calls->choose_table(packets[i], table) == 0 ? CHOSEN : NO_WAY, 1);
	}
}

static const struct sluice_setting settings[] = {
	{ "port", "the destination port" },
	{ "table", "the table that leads there" },
	{ NULL, NULL },
};

static const char *const counters[] = { "chosen", "no-way", NULL };

const struct sluice_hook_program sluice_hook_program = {
	.abi = SLUICE_HOOK_ABI,
	.size = sizeof(struct sluice_hook_program),
	.name = "by-port",
	.summary = "sends packets to a port by another table",
	.settings = settings,
	.counters = counters,
	.events = SLUICE_ROUTE_DECISION,
	.make = make,
	.drop = free,
	.burst = burst,
};
