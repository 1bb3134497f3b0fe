"""Reports problems that last to people: `policy` decides when, `notifier` sends."""
