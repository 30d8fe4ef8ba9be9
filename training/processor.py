"""What this machine's processor can do."""

import time
from pathlib import Path

BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
ROUNDS = 5  # the fastest counts, which other load affects least
MAX_RATIO = 0.8  # of the times of bf16 and fp32; the rest of a training gains nothing from bf16


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return the instruction set flags that Linux reports, e.g. {"avx2", "avx512_vnni"}; empty on other systems."""
    if not cpuinfo.is_file():
        return set()
    flags = (
        line.partition(":")[2] for line in cpuinfo.read_text(encoding="utf-8").splitlines() if line.startswith("flags")
    )
    return set(next(flags, "").split())


def bf16_is_faster() -> bool:
    """Tell whether this processor multiplies matrices of an encoder's size faster in bf16 than in fp32.

    Measured, since the instructions alone do not tell: with avx512_bf16 and without amx_bf16, training in bf16 is
    faster than in fp32 on some processors and slower on others.
    """
    if not BF16_FLAGS & cpu_flags():
        return False
    taken = [seconds_per_product() for _ in range(ROUNDS)]
    fp32, bf16 = map(min, zip(*taken, strict=True))
    return bf16 < MAX_RATIO * fp32


def seconds_per_product() -> tuple[float, float]:
    """Return the seconds that a layer of a small encoder takes for a batch, forth and back, in fp32 and in bf16."""
    import torch

    tokens, layer = torch.rand(512, 384), torch.nn.Linear(384, 1536)
    taken = []
    for bf16 in (False, True):
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            output = layer(tokens)
        output.sum().backward()
        taken.append(time.perf_counter() - started)
    return taken[0], taken[1]
