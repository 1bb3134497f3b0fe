"""The daemon as a service of systemd: what is installed, and taken back."""
