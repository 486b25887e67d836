"""A real Kubernetes control plane without containers, and a node agent that stands in for the kubelet.

Only tests and the demo use this package; nothing that is shipped imports it. `python -m tests.cluster up` starts it,
`tests.cluster.fixtures` offers it to pytest, and `README.md` tells what is real and what is not.
"""
