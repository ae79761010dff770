"""What is kept in memory, so that it is computed once."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def cached(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """`functools.lru_cache` with the signature kept; a frozen family is an argument like any other."""
    cached: Any = functools.lru_cache(maxsize)
    return cached
