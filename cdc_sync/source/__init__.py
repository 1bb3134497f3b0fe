"""The source database, read only: pages of rows, the horizon, and facts for `check`."""
