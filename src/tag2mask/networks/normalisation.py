"""From raw class activation maps to maps between 0 and 1."""

from torch import Tensor
from torch.nn import functional as F

_SMALL = 1e-5


def normalise_cams(cams: Tensor) -> Tensor:
    """Stretch each map's positive part to 0..1; a constant map becomes 0. As in the authors' released code.

    The gradient flows through the map's largest and smallest value too, to one pixel each where several share it.

    Args:
        cams: raw maps (B, C, h, w), any range.

    Returns:
        (B, C, h, w) in [0, 1].
    """
    positive = F.relu(cams)
    flat = positive.flatten(2)
    largest = flat.max(dim=2).values[:, :, None, None]
    smallest = flat.min(dim=2).values[:, :, None, None]
    return F.relu(positive - smallest - _SMALL) / (largest - smallest + _SMALL)
