"""From the source to pending: poll, reconcile, plan."""
