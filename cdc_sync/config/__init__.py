"""config.yaml: its keys, and how it is found, read and written."""
