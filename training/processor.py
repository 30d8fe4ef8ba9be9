"""What this machine's processor can do."""

import platform
from pathlib import Path


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return the instruction set flags that Linux reports, e.g. {"avx2", "avx512_vnni"}; empty on other systems."""
    if not cpuinfo.is_file():
        return set()
    flags = (line.partition(":")[2] for line in cpuinfo.read_text().splitlines() if line.startswith("flags"))
    return set(next(flags, "").split())


def detect_instruction_set() -> str:
    """Return the int8 instruction set to quantize for: "arm64", "avx512_vnni" or "avx2"."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm64"
    return "avx512_vnni" if cpu_flags() & {"avx512_vnni", "avx_vnni"} else "avx2"
