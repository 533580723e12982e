"""Progress: the callback of what takes long."""

from collections.abc import Callable

# Gets what happens now, as a line of text; perhaps twice with the same text.
Progress = Callable[[str], None]
