"""Where the time of an adversarial step goes: forward and backward passes of each network, optimisers, and the rest."""

from collections import defaultdict
from typing import Any

import torch
from clocks import clock
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from tag2mask.networks.classifier import PhotoClassifier
from tag2mask.networks.reconstructor import Reconstructor


class StepParts:
    """Times the parts of a step of two networks that are not compiled.

    The device is waited for where one part ends and the next one begins, so their sum is a little more than a step that
    is left alone. A backward pass enters a network where the gradient of its output is there, and leaves it where that
    of its input is, or where its optimiser steps.
    """

    def __init__(self, classifier: PhotoClassifier, reconstructor: Reconstructor, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self._classifier_weights = {id(parameter) for parameter in classifier.parameters()}
        self._watch_forward("classifier forward", classifier)
        self._watch_forward("encoder forward", reconstructor.get_submodule("backbone"))
        self._watch_forward("decoder forward", reconstructor.decoder)
        classifier.register_forward_hook(lambda _module, _inputs, output: self._end_at_gradient("rest", output.cams))
        for reduction in reconstructor.reductions:
            reduction.register_forward_hook(lambda _module, _inputs, output: self._end_at_gradient("rest", output))
        reconstructor.decoder.register_forward_hook(self._watch_decoder)
        register_optimizer_step_pre_hook(self._before_update)
        register_optimizer_step_post_hook(lambda *_: self.end("optimisers"))
        self._last = clock(device)

    def end(self, part: str) -> None:
        """Count all time since the last call as this part."""
        now = clock(self._device)
        self.seconds[part] += now - self._last
        self._last = now

    def _watch_forward(self, part: str, module: nn.Module) -> None:
        module.register_forward_pre_hook(lambda _module, _inputs: self.end("rest"))
        module.register_forward_hook(lambda _module, _inputs, _output: self.end(part))

    def _watch_decoder(self, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._end_at_gradient("rest", output)
        self._end_at_gradient("decoder backward", inputs[0])

    def _before_update(self, optimizer: Any, *_: Any) -> None:
        first = optimizer.param_groups[0]["params"][0]
        self.end("classifier backward" if id(first) in self._classifier_weights else "encoder backward")

    def _end_at_gradient(self, part: str, tensor: Tensor) -> None:
        if tensor.requires_grad:
            tensor.register_hook(lambda _gradient: self.end(part))
