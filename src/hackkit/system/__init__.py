"""This computer: processes, hardware, git, uv, command lines."""
