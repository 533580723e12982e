"""Run a deployment on this machine, before the platform does."""
