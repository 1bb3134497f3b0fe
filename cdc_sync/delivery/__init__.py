"""From pending to acknowledged."""
