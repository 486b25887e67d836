"""The API server: requests, their rate, what comes back, and what can go wrong."""
