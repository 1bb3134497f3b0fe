"""`check`: asks for everything that a run needs, before it starts."""
