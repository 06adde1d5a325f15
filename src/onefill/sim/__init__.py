"""What stands in for the outside world: a simulated exchange, in process or behind a socket, built to be argued with."""
