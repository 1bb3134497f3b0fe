"""CustomerGauge over HTTP: sends one PUT, returns one answer."""
