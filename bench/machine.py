"""The machine a bench ran on, for numbers mean little without it."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores this process may use, and how busy they were before (1-minute load average)."""

    cores: int
    model: str
    kernel: str
    python: str
    memory_gib: float
    load_before: float
    load_after: float = 0.0

    @classmethod
    def here(cls) -> Self:
        """Read the data of this machine."""
        return cls(
            cores=len(os.sched_getaffinity(0)),
            model=_field(Path("/proc/cpuinfo"), "model name"),
            kernel=platform.release(),
            python=platform.python_version(),
            memory_gib=round(int(_field(Path("/proc/meminfo"), "MemTotal").split()[0]) / 2**20, 1),
            load_before=round(os.getloadavg()[0], 2),
        )

    def numbers(self) -> dict[str, float]:
        """Return the numbers of the machine by key."""
        return {
            "machine_cores": self.cores,
            "machine_memory_gib": self.memory_gib,
            "machine_load_before": self.load_before,
            "machine_load_after": self.load_after,
        }

    def description(self) -> str:
        """In a line."""
        return (
            f"{self.cores} cores ({self.model}), {self.memory_gib:g} GiB, Linux {self.kernel}, "
            f"Python {self.python}; load average {self.load_before:g} before the run "
            f"and {self.load_after:g} after it"
        )


def _field(path: Path, name: str) -> str:
    """Return a value of a table in /proc."""
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "0")
