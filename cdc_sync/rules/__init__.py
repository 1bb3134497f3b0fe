"""The decisions, as pure functions of values: no clock, no random numbers, no I/O, no log."""
