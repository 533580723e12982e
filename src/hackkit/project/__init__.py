"""A generated project: what its files, its lock and its app say."""
