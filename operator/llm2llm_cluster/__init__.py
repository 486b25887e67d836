"""The commands for runs on a cluster, which act with the kubeconfig and the rights of whoever calls."""
