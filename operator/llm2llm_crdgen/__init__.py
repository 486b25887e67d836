"""The CRD and the reference pages, generated from the typed models; the running operator never imports it."""
