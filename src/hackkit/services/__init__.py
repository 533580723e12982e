"""Outside services, one module each."""
