"""What this machine's processor can do."""

from pathlib import Path


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return the instruction set flags that Linux reports, e.g. {"avx2", "avx512_vnni"}; empty on other systems."""
    if not cpuinfo.is_file():
        return set()
    flags = (
        line.partition(":")[2] for line in cpuinfo.read_text(encoding="utf-8").splitlines() if line.startswith("flags")
    )
    return set(next(flags, "").split())
