"""What this machine's processor is, and what it can do."""

import os
import platform
import time
from pathlib import Path

BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
ROUNDS = 5  # the fastest counts, which other load affects least
SPINS = "10000"  # rounds of waiting, for libgomp's 300,000; with none, a training that runs alone would be slower
MAX_RATIO = 0.8  # of the times of bf16 and fp32; the rest of a training gains nothing from bf16


CPUINFO = Path("/proc/cpuinfo")


def cpu_field(name: str, cpuinfo: Path = CPUINFO) -> str:
    """Return the field ``name`` of what Linux reports of the first core, "" if there is none and on other systems."""
    if not cpuinfo.is_file():
        return ""
    fields = (line.partition(":") for line in cpuinfo.read_text(encoding="utf-8").splitlines())
    return next((value.strip() for field, _, value in fields if field.strip() == name), "")


def cpu_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """Return the instruction set flags that Linux reports, e.g. {"avx2", "avx512_vnni"}; empty on other systems."""
    return set(cpu_field("flags", cpuinfo).split())


def cpu_name() -> str:
    """Return the name of the processor, as the system reports it."""
    return cpu_field("model name") or platform.processor() or platform.machine()


def spin_briefly() -> None:
    """Let PyTorch's idle threads sleep soon, unless the user's environment says otherwise; call it before the import.

    By default, libgomp, the OpenMP of PyTorch on Linux, lets them spin much longer, which takes the cores from whatever
    runs beside a training, such as a second one.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def choose_precision() -> str:
    """Return "bf16", "fp16" or "fp32", in which this machine trains fastest."""
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if bf16_is_faster() else "fp32"


def can_train_in(precision: str) -> bool:
    """Tell whether this machine can train in "bf16", "fp16" or "fp32"; of processors, all can but in fp16."""
    import torch

    cuda = torch.cuda.is_available()
    return {"bf16": not cuda or torch.cuda.is_bf16_supported(), "fp16": cuda, "fp32": True}.get(precision, False)


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
