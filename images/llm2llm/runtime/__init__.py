"""What every step has around it: its context, its log, its watchdog."""
