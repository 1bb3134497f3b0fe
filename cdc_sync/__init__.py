"""Keeps the contracts in CustomerGauge true to a company's own SQL database."""

__version__ = "0.1.0"
