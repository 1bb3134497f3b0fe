"""CustomerGauge over HTTP: one PUT in, one answer out."""
