"""Makes `python -m hackkit` the same as `hackkit`."""

from hackkit.cli import main

main()
