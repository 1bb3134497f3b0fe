"""The sandbox stands in for CustomerGauge: a witness that shares no code with the product."""
