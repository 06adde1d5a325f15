"""Settings, wiring and the work that the commands do. Wiring is the one place where implementations are chosen."""
