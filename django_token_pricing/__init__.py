"""Token and pricing back office for the stock Django admin. Importing this package touches no model."""

__version__ = "0.1.0.dev0"
