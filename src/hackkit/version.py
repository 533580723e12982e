"""This hackkit's version: the tag of the templates that it carries."""

VERSION = "0.2.0"
