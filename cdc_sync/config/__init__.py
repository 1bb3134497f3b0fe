"""config.yaml: its form, and how it is found and read."""
