"""Pure rules: no I/O, clock, randomness, threads or logging; time and jitter are arguments."""
