"""NVML as a scripted module, with what two cards answer."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from trees import GIB


class NvmlError(Exception):
    pass


class Nvml:
    """NVML with one or more GPUs; a call that is not among the answers is not supported."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM = 1, 2

    def __init__(self, *gpus: dict[str, Any], **system: Any) -> None:
        self._gpus, self._system = gpus, system
        self.open = 0

    def nvmlInit(self) -> None:
        if "broken" in self._system:
            raise NvmlError("driver not loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return self._gpus[index]

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            answers = arguments[0] if arguments and isinstance(arguments[0], dict) else self._system
            found = answers.get(name, NvmlError("Not Supported"))
            found = found[arguments[1]] if isinstance(found, dict) and len(arguments) > 1 else found
            if isinstance(found, Exception):
                raise found
            return found

        return call


RTX = {
    "nvmlDeviceGetName": "NVIDIA GeForce RTX 4090",
    "nvmlDeviceGetUUID": "GPU-8f6f2a2e",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=24 * GIB, free=20 * GIB, used=4 * GIB),
    "nvmlDeviceGetMaxClockInfo": {1: 3120, 2: 10501},
    "nvmlDeviceGetMemoryBusWidth": 384,
    "nvmlDeviceGetEnforcedPowerLimit": 450_000,
    "nvmlDeviceGetClockInfo": {1: 2520, 2: 10501},
    "nvmlDeviceGetCurrentClocksEventReasons": 0x4 | 0x1,
    "nvmlDeviceGetTotalEnergyConsumption": 123_456,
    "nvmlDeviceGetMigMode": NvmlError("Not Supported"),
    "nvmlDeviceGetCurrPcieLinkGeneration": 4,
    "nvmlDeviceGetCurrPcieLinkWidth": 16,
    "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=n) for n in (1, 2, os.getpid())],
}


H100 = RTX | {
    "nvmlDeviceGetName": b"NVIDIA H100 80GB HBM3",
    "nvmlDeviceGetUUID": "GPU-11111111",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 * GIB, free=79 * GIB, used=GIB),
    "nvmlDeviceGetMaxClockInfo": {1: 1980, 2: 2619},
    "nvmlDeviceGetMemoryBusWidth": 5120,
    "nvmlDeviceGetMigMode": [1, 1],
    "nvmlDeviceGetEccMode": [1, 1],
    "nvmlDeviceGetCurrentClocksEventReasons": 0,
    "nvmlDeviceGetComputeRunningProcesses": [],
}


SYSTEM = {"nvmlSystemGetDriverVersion": "580.95.05", "nvmlSystemGetCudaDriverVersion_v2": 13000}
