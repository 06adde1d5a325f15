"""Adapters between a venue's own words and the :class:`~onefill.ports.venue.Venue` port."""
