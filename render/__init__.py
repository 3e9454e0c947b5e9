"""Rendering in worker processes. ``render.pool`` and ``render.cluster`` stay out of here: workers import this."""

from __future__ import annotations

from render.confinement import Confinement, ConfinementState, expected_state, landlock_abi
from render.executor import PoolOptions, RenderExecutor, RenderHealth

__all__ = [
    "Confinement",
    "ConfinementState",
    "PoolOptions",
    "RenderExecutor",
    "RenderHealth",
    "expected_state",
    "landlock_abi",
]
