"""`check`: what a run needs, looked at before it starts."""
