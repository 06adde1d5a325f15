"""The virtual-time event loop lives in the package; the engine's tests know it by this name."""

from onefill.sim.virtual_loop import NothingLeft, VirtualLoop, run

__all__ = ["NothingLeft", "VirtualLoop", "run"]
