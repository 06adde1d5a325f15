"""Protocols between the engine and what it stands on. Implementations never import each other."""
