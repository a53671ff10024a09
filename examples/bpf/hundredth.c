/* Every hundredth packet is logged and dropped: the example of the article on Solaris' Packet
 * Filtering Hooks (2009), as examples/src/hundredth.rs is in Rust. */
#include <sluice/bpf.h>

SLUICE_PROGRAM(
	.name = "hundredth",
	.summary = "logs and drops every hundredth packet of each worker",
	.events = SLUICE_AT(PHYSICAL_IN) | SLUICE_AT(FORWARDING) | SLUICE_AT(PHYSICAL_OUT),
	.settings = { {
		.name = "every",
		.summary = "which one is dropped; 1 drops all of them",
		.initial = 100,
		.least = 1,
		.most = 1000000,
	} });

enum { EVERY };	/* places in settings */
enum { SEEN };	/* places in memory */

SLUICE_HOOK u64 hundredth(struct sluice_packet *packet)
{
	u64 seen = packet->memory[SEEN] + 1;

	if (seen < packet->settings[EVERY]) {
		packet->memory[SEEN] = seen;
		return SLUICE_CONTINUE;
	}
	packet->memory[SEEN] = 0;
	sluice_log(packet);
	return SLUICE_DROP;
}
