"""The whole system on this machine, with a source that keeps changing."""
