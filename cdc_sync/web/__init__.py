"""What is served over HTTP from inside our own process."""
