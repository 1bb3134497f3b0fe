"""The stand-in for CustomerGauge: an independent witness that shares no code with the product."""
