"""Plain Python that the rules stand on: no Django in here."""
