"""The state database. Functions take the caller's transaction as their first argument."""
