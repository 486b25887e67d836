"""Surrounds every step: its context, its log, its watchdog."""
