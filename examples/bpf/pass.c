/* Lets everything pass: what a program costs that does nothing. */
#include <sluice/bpf.h>

SLUICE_PROGRAM(
	.name = "pass",
	.summary = "lets every packet pass",
	.events = SLUICE_AT(OBSERVING) | SLUICE_AT(PHYSICAL_IN) | SLUICE_AT(ROUTE_DECISION) |
		  SLUICE_AT(LOOPBACK_OUT) | SLUICE_AT(LOOPBACK_IN) | SLUICE_AT(FORWARDING) |
		  SLUICE_AT(PHYSICAL_OUT));

SLUICE_HOOK u64 pass(struct sluice_packet *packet)
{
	(void)packet;
	return SLUICE_CONTINUE;
}
