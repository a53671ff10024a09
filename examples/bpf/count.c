/* Reads the five-tuple and counts what packets are. */
#include <sluice/bpf.h>

enum { TCP, UDP, OTHER, TO_ITSELF };	/* places in counters */

SLUICE_PROGRAM(
	.name = "count",
	.summary = "counts packets by protocol, and those whose source is their destination",
	.events = SLUICE_AT(OBSERVING) | SLUICE_AT(PHYSICAL_IN) | SLUICE_AT(FORWARDING) |
		  SLUICE_AT(PHYSICAL_OUT),
	.counters = { "tcp", "udp", "other", "to-itself" });

SLUICE_HOOK u64 count(struct sluice_packet *packet)
{
	u64 what = OTHER;

	if (packet->protocol == 6)
		what = TCP;
	else if (packet->protocol == 17)
		what = UDP;
	if (packet->src_low == packet->dst_low && packet->src_high == packet->dst_high &&
	    packet->src_port == packet->dst_port)
		what = TO_ITSELF;
	sluice_count(packet, what, 1);
	return SLUICE_CONTINUE;
}
