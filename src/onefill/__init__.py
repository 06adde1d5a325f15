"""Onefill: an order-execution gateway in which retries are safe by construction."""

__version__ = "0.1.0"
