"""What the bits of a result depend on besides the program: versions, threads, devices."""

import platform
from typing import Any

import torch


def environment() -> dict[str, Any]:
    """Versions, threads, devices and flags, by name, as plain values.

    Example:
        >>> sorted(environment())[:3]
        ['deterministic', 'device', 'devices']
    """
    cuda = torch.cuda.is_available()
    return {
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "devices": torch.cuda.device_count(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
    }
