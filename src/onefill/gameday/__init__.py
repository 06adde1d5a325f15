"""Drills: the real commands in real processes, over a faulty network, killed with -9, and judged at the venue."""
