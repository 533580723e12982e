"""Deploy a project, or rehearse that locally."""
