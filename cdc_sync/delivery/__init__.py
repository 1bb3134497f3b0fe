"""From a pending contract to an acknowledged one: claim, send, settle."""
