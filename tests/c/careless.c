/* What no hook should do, each at a UDP datagram to a port of its own; the others pass. */

#include <sluice/hook.h>

#define KEEP 7001
#define FREE_TWICE 7002
#define FREE_WHAT_IS_NOT_LENT 7003
#define TAKE_AND_KEEP 7004

static const void *file;

static void *make(const struct sluice_load *load)
{
	static int nothing;

	file = load->file;
	return &nothing;
}

static uint32_t packet(void *context, struct sluice_packet *packet)
{
	const struct sluice_calls *calls = packet->calls;
	struct sluice_tuple tuple;
	sluice_owned *copy;

	(void)context;
	if (calls->tuple(packet, &tuple) != 0 || tuple.protocol != 17)
		return SLUICE_CONTINUE;
	switch (tuple.destination_port) {
	case KEEP:
		(void)calls->copy(packet);
		break;
	case FREE_TWICE:
		copy = calls->copy(packet);
		(void)calls->free(file, copy);
		/* Counted where the hook's own counters are: `replace` names the packet in hand. */
		(void)calls->replace(packet, copy);
		break;
	case FREE_WHAT_IS_NOT_LENT:
		(void)calls->replace(packet, (sluice_owned *)&tuple);
		break;
	case TAKE_AND_KEEP:
		(void)calls->take(packet);
		return SLUICE_CONSUMED;
	}
	return SLUICE_CONTINUE;
}

const struct sluice_hook_program sluice_hook_program = {
	.abi = SLUICE_HOOK_ABI,
	.size = sizeof(struct sluice_hook_program),
	.name = "careless",
	.summary = "does what no hook should",
	.events = SLUICE_PHYSICAL_IN | SLUICE_FORWARDING,
	.make = make,
	.packet = packet,
};
