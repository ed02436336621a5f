"""What providers charge for their models, how many of our tokens theirs are, and how people change that."""

from django_token_pricing.tokens.prices.catalogue import Published, Publisher, is_installed, published, publishers
from django_token_pricing.tokens.prices.changes import NewPrice, draft, remove_price, set_price, set_prices
from django_token_pricing.tokens.prices.costs import cost_of, weighted
from django_token_pricing.tokens.prices.lookup import Price, forget, price_of

__all__ = [
    "NewPrice",
    "Price",
    "Published",
    "Publisher",
    "cost_of",
    "draft",
    "forget",
    "is_installed",
    "price_of",
    "published",
    "publishers",
    "remove_price",
    "set_price",
    "set_prices",
    "weighted",
]
