"""Conformance suites for people who write their own ledgers and venues."""
