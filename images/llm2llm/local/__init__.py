"""The local runner: the same manifest, loop and stages in one process, without a cluster."""
