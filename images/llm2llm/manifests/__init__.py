"""Reads and checks manifests as the API server would, and what they ask of this machine: files, Secrets, ConfigMaps."""
