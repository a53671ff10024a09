"""Programs for the sandbox: compiled as their authors do it."""

import pathlib
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples/bpf"

# What a program is beside its function.
_HEAD = """
#include <sluice/bpf.h>
SLUICE_PROGRAM(
	.name = "tried",
	.summary = "tried by a test",
	.events = SLUICE_AT(PHYSICAL_IN) | SLUICE_AT(FORWARDING) | SLUICE_AT(PHYSICAL_OUT),
	.counters = { "seen" });
"""


def compiled(source, folder, *options, target="bpf", cpu="v2"):
    """The object of an example, by its name, or of the body of a function."""
    example = EXAMPLES / f"{source}.c"
    if "\n" in source or "{" in source:
        example = folder / "tried.c"
        example.write_text(_HEAD + "SLUICE_HOOK u64 tried(struct sluice_packet *packet)\n" + source)
    made = folder / f"{example.stem}.o"
    cpu = ("-mcpu=" + cpu,) if target == "bpf" else ()
    subprocess.run(
        ["clang", "-O2", "-target", target, *cpu, *options]
        + ["-I", REPOSITORY / "include", "-c", example, "-o", made],
        check=True,
    )
    return made
