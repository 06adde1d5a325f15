"""A guard in front of an existing ccxt object: its own calls, made safe to repeat. :func:`onefill.guard` is the entrance."""
