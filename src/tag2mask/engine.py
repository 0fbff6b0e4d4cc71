"""The processes and devices of a run."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from inspect import signature
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from tag2mask.config import EngineSettings
from tag2mask.workers import end_with, refused_together

# One process alone chooses the threshold and measures while others wait; torch's own limit is shorter than that takes.
_PATIENCE = timedelta(days=1)
# Environment variable: number of the process that starts others of its run, for as long as it does so.
_STARTED_BY = "TAG2MASK_STARTED_BY"


def launch(settings: EngineSettings) -> Fabric:
    """Start the processes of a run; each continues from here with its own rank.

    Those that this one starts end with it: it alone keeps others out of the run's folder. It ends with them too, as
    Fabric sees to.

    On NVIDIA GPUs, products of float32 are rounded to TF32 within, as torch has it for convolutions anyway.

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
            strategy=_sharing_gradients() if several else "auto",
        )
    except (RuntimeError, ModuleNotFoundError, MisconfigurationException) as error:
        raise ValueError(f"engine.accelerator {settings.accelerator} x {settings.devices}: {error}") from error
    if fabric.device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    _start_processes(fabric)
    if settings.compile:
        with refused_together(fabric):
            _check_compiler(fabric.device)
    # Numbers this small slow a CPU down a hundredfold and change nothing.
    torch.set_flush_denormal(True)
    return fabric


@contextmanager
def launched(settings: EngineSettings) -> Iterator[Fabric]:
    """`launch`, and leave the group of processes when the block ends, so that each of them can end alone.

    A block that fails leaves the group: what another process waits for might never come.

    Raises:
        ValueError: this machine does not have what is asked for.
    """
    yield launch(settings)
    if distributed.is_available() and distributed.is_initialized():
        # A process that ends with its group's threads still at work may be aborted by them. Fabric sees to NCCL alone.
        distributed.destroy_process_group()


def inference_arithmetic(fabric: Fabric, settings: EngineSettings) -> AbstractContextManager[None]:
    """The arithmetic in which trained networks make maps and predictions."""
    match settings.inference_precision:
        case None:
            # Not by its name: on a CPU, Fabric takes bfloat16 for 16-mixed.
            return fabric.autocast()
        case "32-true":
            return nullcontext()
        case "bf16-mixed":
            return torch.autocast(fabric.device.type, torch.bfloat16)
        case "16-mixed":
            return torch.autocast(fabric.device.type, torch.float16)


def _sharing_gradients() -> DDPStrategy:
    """Strategy whose processes share gradients but no buffers: as all BatchNorm is frozen, buffers never change."""
    # What torch 2.13 calls it, and what it was called before.
    names = ("forward_sync_buffers", "broadcast_buffers")
    name = next(name for name in names if name in signature(DistributedDataParallel).parameters)
    unshared: dict[str, Any] = {name: False}
    return DDPStrategy(timeout=_PATIENCE, **unshared)


def _start_processes(fabric: Fabric) -> None:
    started_by = os.environ.get(_STARTED_BY)
    if started_by:
        # Before it waits for the others, which it does for as long as they may take.
        end_with(int(started_by))
    os.environ[_STARTED_BY] = str(os.getpid())
    try:
        fabric.launch()
    finally:
        del os.environ[_STARTED_BY]


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
