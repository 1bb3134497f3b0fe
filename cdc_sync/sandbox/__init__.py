"""A stand-in for CustomerGauge that shares no code with what it is a witness of."""
