"""The whole system on this machine."""
