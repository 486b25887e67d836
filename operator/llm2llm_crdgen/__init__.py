"""Generates the CRD and the reference pages from the typed models; the running operator never imports this package."""
