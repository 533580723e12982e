"""Addresses, requests, and why a site cannot be reached."""
