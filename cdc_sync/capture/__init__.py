"""From a row of the source to a pending contract: poll, reconcile, plan."""
