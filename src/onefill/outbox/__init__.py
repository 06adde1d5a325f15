"""Adapters to subscribers: where committed events are told."""
