"""The state database; functions take the caller's transaction first."""
