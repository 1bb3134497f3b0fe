"""What `init` writes, and what `service install` installs and `uninstall` removes."""
