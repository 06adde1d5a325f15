"""Small local servers that answer as real venues do, all over the simulated exchange's core. For tests and for practice."""
