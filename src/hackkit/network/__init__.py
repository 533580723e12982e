"""Web addresses, HTTP requests, and why a site cannot be reached."""
