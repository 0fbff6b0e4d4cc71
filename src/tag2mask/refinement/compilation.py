"""Compiled loops, kept on disk from one process to the next where there is a place for them."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Numba's `njit`; what it compiles is kept beside the module, or else in `NUMBA_CACHE_DIR` or the user's cache.

    Where none of these can be written to, as in an image of a container, each process compiles anew.

    Args:
        options: of `njit`.
    """

    def compile_function(function: Function) -> Function:
        dispatcher: Any = njit(**options)(function)
        # Numba refuses to go on without a place.
        with suppress(RuntimeError):
            dispatcher.enable_caching()
        kept: Function = dispatcher
        return kept

    return compile_function
