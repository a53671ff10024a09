/* Drops packets to the ports of a list. */
#include <sluice/bpf.h>

enum { BLOCKED };	/* places in counters */
enum { PORTS };		/* places in tables */

SLUICE_PROGRAM(
	.name = "port-block",
	.summary = "drops TCP and UDP packets to the ports of a list",
	.events = SLUICE_AT(PHYSICAL_IN) | SLUICE_AT(FORWARDING) | SLUICE_AT(PHYSICAL_OUT),
	.counters = { "blocked" },
	.tables = { { .name = "ports", .entries = 256 } },
	.settings = { {
		.name = "ports",
		.summary = "the ports, with commas",
		.least = 1,
		.most = 65535,
		.table = PORTS + 1,
	} });

SLUICE_HOOK u64 port_block(struct sluice_packet *packet)
{
	if (packet->protocol != 6 && packet->protocol != 17)
		return SLUICE_CONTINUE;
	if (!sluice_lookup(packet, PORTS, 0, packet->dst_port))
		return SLUICE_CONTINUE;
	return SLUICE_DROP_AS(BLOCKED);
}
