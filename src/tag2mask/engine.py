"""The processes and devices of a run."""

from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException

from tag2mask.config import EngineSettings
from tag2mask.workers import refused_together

# One process alone chooses the threshold and measures while others wait; torch's own limit is shorter than that takes.
_PATIENCE = timedelta(days=1)


def launch(settings: EngineSettings) -> Fabric:
    """Start the processes of a run; each continues from here with its own rank.

    Raises:
        ValueError: this machine does not have what is asked for.
    """
    several = settings.devices * settings.num_nodes > 1
    try:
        fabric = Fabric(
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.num_nodes,
            precision=settings.precision,
            strategy=DDPStrategy(timeout=_PATIENCE) if several else "auto",
        )
    except (RuntimeError, ModuleNotFoundError, MisconfigurationException) as error:
        raise ValueError(f"engine.accelerator {settings.accelerator} x {settings.devices}: {error}") from error
    fabric.launch()
    if settings.compile:
        with refused_together(fabric):
            _check_compiler(fabric.device)
    # Numbers this small slow a CPU down a hundredfold and change nothing.
    torch.set_flush_denormal(True)
    return fabric


def inference_arithmetic(fabric: Fabric, settings: EngineSettings) -> AbstractContextManager[None]:
    """In which trained networks make maps and predictions."""
    match settings.inference_precision or settings.precision:
        case "32-true":
            return nullcontext()
        case "bf16-mixed":
            return torch.autocast(fabric.device.type, torch.bfloat16)
        case "16-mixed":
            return torch.autocast(fabric.device.type, torch.float16)


def _check_compiler(device: torch.device) -> None:
    """Compile something small: nothing else tells whether all that torch needs for it is there, before a training."""
    try:
        torch.compile(_add_one)(torch.zeros(1, device=device))
    except RuntimeError as error:
        reason = str(getattr(error, "inner_exception", error)).strip().split("\n", maxsplit=1)[0]
        needed = "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler"
        raise ValueError(f"engine.compile: found {reason!r}, expected {needed} for torch.compile") from error


def _add_one(x: torch.Tensor) -> torch.Tensor:
    return x + 1
