"""Setting up: what `init` writes, and what `service install` installs and takes back."""
