"""Keeps the contracts in CustomerGauge in sync with a company's own SQL database."""

__version__ = "0.1.0"
