"""Watches the cluster: the watches, the cache that they fill, the queue of runs to reconcile, and the Lease."""
