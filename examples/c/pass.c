/* Lets everything pass: what a hook in C costs before it does something (`bench/hooks.py`). */

#include <sluice/hook.h>

static uint32_t pass(void *context, struct sluice_packet *packet)
{
	(void)context;
	(void)packet;
	return SLUICE_CONTINUE;
}

const struct sluice_hook_program sluice_hook_program = {
	.abi = SLUICE_HOOK_ABI,
	.size = sizeof(struct sluice_hook_program),
	.name = "pass-c",
	.summary = "lets everything pass, in C: for measuring",
	.events = SLUICE_PHYSICAL_IN | SLUICE_FORWARDING | SLUICE_PHYSICAL_OUT,
	.packet = pass,
};
