"""The status page: pages, actions, live updates and metrics, served from the daemon."""
