"""The local runner: the same manifest, the same loop and the same stages, in one process and without a cluster."""
