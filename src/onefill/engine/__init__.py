"""The asyncio shells: they perform what the core decides. Imports ports and core, never an implementation of a port."""
