"""Shows the state of the operator itself: metrics, logs, probes."""
