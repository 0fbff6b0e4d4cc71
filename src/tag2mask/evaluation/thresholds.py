"""Background thresholds of activation maps that are tried, by the sweep over masks and by the estimate without them."""

import numpy as np
from numpy.typing import NDArray

NUM_STEPS = 100
"""Thresholds are 0, 1 / NUM_STEPS, ... 1."""

THRESHOLDS: NDArray[np.float32] = (np.arange(NUM_STEPS + 1) / NUM_STEPS).astype(np.float32)
"""The background scores that are tried, as float32 like the maps they are compared with."""
