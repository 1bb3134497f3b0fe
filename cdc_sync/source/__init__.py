"""The source database, read only: pages, horizon, facts for check."""
