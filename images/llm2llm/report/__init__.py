"""Views for people, derived from what is committed; no step reads them."""
