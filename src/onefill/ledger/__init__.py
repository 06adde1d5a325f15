"""Ledgers: implementations of :class:`onefill.ports.ledger.Ledger`."""
