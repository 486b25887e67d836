"""What happens in the cluster: watches, the cache that they fill, the queue of runs to look at, and who may act."""
