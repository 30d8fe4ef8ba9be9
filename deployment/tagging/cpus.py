"""The number of processors that this process may use; in a container, fewer than the machine has."""

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

PROCESS_GROUPS = Path("/proc/self/cgroup")
CONTROL_GROUPS = Path("/sys/fs/cgroup")


def usable_cpus(process_groups: Path = PROCESS_GROUPS, control_groups: Path = CONTROL_GROUPS) -> int:
    """Return the number of processors by affinity (taskset, cpusets) and by the quota of the container, at least 1.

    os.process_cpu_count of Python 3.13 knows the affinity, but not the quota.

    Parameters
    ----------
    process_groups : Path
        File that lists the control groups of this process, on Linux.
    control_groups : Path
        Mount point of the control groups, version 1 or 2.
    """
    if sys.platform == "linux":
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = os.cpu_count() or 1
    quotas = [math.ceil(quota) for quota in cpu_quotas(process_groups, control_groups)]
    return max(1, min([cpus, *quotas]))


def cpu_quotas(process_groups: Path, control_groups: Path) -> Iterator[float]:
    """Yield each quota that applies to this process, in processors."""
    try:
        lines = process_groups.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:  # such as 0::/user.slice (version 2) or 4:cpu,cpuacct:/docker/ab12 (version 1)
        _, controllers, group = line.split(":", 2)
        if not controllers:
            mounts = [control_groups, control_groups / "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [control_groups / name for name in dict.fromkeys([controllers, "cpu"])]
        else:
            continue
        # Parent groups may have quotas, too. A container often sees its own group as the root.
        own = Path(group.lstrip("/"))
        for mount in mounts:
            for path in (own, *own.parents):
                yield from read_quota(mount / path)


def read_quota(group: Path) -> list[float]:
    """Return a list of the quota of a control group in processors, empty if it has none."""
    try:
        if (limit := group / "cpu.max").is_file():
            quota, period = limit.read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (group / name).read_text(encoding="utf-8") for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        return [float(quota) / float(period)] if float(quota) > 0 else []
    except (OSError, ValueError, ZeroDivisionError):  # no such file, "max", or -1: no quota
        return []
