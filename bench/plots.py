"""Plots."""

from collections.abc import Callable, Mapping

PLOTS: Mapping[str, Callable[[Mapping[str, float]], str]] = {}
