/* Lets everything pass, a burst at a time: what a hook in C costs before it does something
 * (`bench/hooks.py`). What stands in `verdicts` at first is SLUICE_CONTINUE. */

#include <sluice/hook.h>

static void pass(void *context, struct sluice_packet *const *packets, uint32_t *verdicts,
    uint32_t count)
{
	(void)context;
	(void)packets;
	(void)verdicts;
	(void)count;
}

const struct sluice_hook_program sluice_hook_program = {
	.abi = SLUICE_HOOK_ABI,
	.size = sizeof(struct sluice_hook_program),
	.name = "pass-burst-c",
	.summary = "lets everything pass, in C, a burst at a time: for measuring",
	.events = SLUICE_PHYSICAL_IN | SLUICE_FORWARDING | SLUICE_PHYSICAL_OUT,
	.burst = pass,
};
