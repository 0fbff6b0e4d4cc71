"""A network together with the optimiser that trains it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Generic, Protocol, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Network = TypeVar("Network", bound=nn.Module)
NetworkLent = TypeVar("NetworkLent", bound=nn.Module, covariant=True)


class Lender(Protocol[NetworkLent]):
    """A learner, or a network that does not learn: either can lend its network as a fixed function."""

    def frozen(self) -> AbstractContextManager[NetworkLent]:
        """Lend the network in evaluation mode: gradients flow through it, none is computed for its weights."""


class Learner(Generic[Network]):
    """One trainable network of a method.

    Each learner has its own wrapper for several processes, so the backward pass through one network never waits for
    gradients of another.
    """

    def __init__(self, fabric: Fabric, network: Network, optimizer: Optimizer, schedule: LRScheduler) -> None:
        # Convolutions run faster on images whose channels lie side by side, on CPUs and GPUs alike.
        self.network = network.to(memory_format=torch.channels_last)
        self._fabric = fabric
        self._schedule = schedule
        self._trained, self._optimizer = fabric.setup(network, optimizer)
        self._parts = _LearningParts(network.train())

    def __call__(self, *args: Any) -> Any:
        """Run the network in training mode, its gradients shared by all processes."""
        if not self.network.training:
            self.network.train()
        return self._trained(*args)

    @contextmanager
    def frozen(self) -> Iterator[Network]:
        """Lend the network as a fixed function in evaluation mode, which afterwards is in training mode.

        Gradients flow *through* it to its inputs, but none is computed for its weights.
        """
        with self._parts.frozen(), self._fabric.autocast():
            yield self.network

    def step(self, loss: Tensor) -> None:
        """Descend `loss` by one update and advance the learning-rate schedule."""
        self._optimizer.zero_grad()
        self._fabric.backward(loss)
        self._optimizer.step()
        self._schedule.step()

    @property
    def learning_rate(self) -> float:
        """Current rate of the first parameter group."""
        return float(self._schedule.get_last_lr()[0])

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs to resume with exactly the same numbers."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` gave."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])


class FixedNetwork(Generic[Network]):
    """A network that does not learn, lent as a learner lends its own."""

    def __init__(self, fabric: Fabric, network: Network) -> None:
        self._network = network
        fabric.to_device(network)
        self._fabric = fabric
        self._parts = _LearningParts(network)

    @contextmanager
    def frozen(self) -> Iterator[Network]:
        """Lend the network as a fixed function in evaluation mode."""
        with self._parts.frozen(), self._fabric.autocast():
            yield self._network


class _LearningParts:
    """The modules of a network that are in training mode now, and the parameters that learn.

    Collected once: to walk through a network takes longer than a GPU takes for the step of a small one.
    """

    def __init__(self, network: nn.Module) -> None:
        self._modules = [module for module in network.modules() if module.training]
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Evaluation mode and no gradients for the weights, until the block ends."""
        self._switch(learns=False)
        try:
            yield
        finally:
            self._switch(learns=True)

    def _switch(self, *, learns: bool) -> None:
        for module in self._modules:
            module.training = learns
        for parameter in self._parameters:
            parameter.requires_grad_(learns)


def has_dropout(network: nn.Module) -> bool:
    """Whether a forward pass in training mode differs from one in evaluation mode."""
    return any(
        getattr(module, "p", 0.0) > 0 or getattr(module, "drop_prob", 0.0) > 0
        for module in network.modules()
        if "Drop" in type(module).__name__
    )
