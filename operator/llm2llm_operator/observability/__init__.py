"""What people and machines see of the operator itself: metrics, logs, probes."""
