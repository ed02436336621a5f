"""Pages of a table with millions of rows: the count stops, and what lies beyond is reached by the last row's key."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.core.paginator import Paginator
from django.db.models import QuerySet

MOST_COUNTED = 10_000


if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator


class CappedPaginator(AnyPaginator):
    """Counts up to 10,000 rows and no further, so neither the count nor the last page's offset grows with the table."""

    object_list: QuerySet[Any]

    @cached_property
    def found(self) -> int:
        """The number of rows; one more than is counted stands for “more than that”."""
        return self.object_list.order_by().values("pk")[: MOST_COUNTED + 1].count()

    @property
    def is_capped(self) -> bool:
        return self.found > MOST_COUNTED

    @cached_property
    def count(self) -> int:
        return min(self.found, MOST_COUNTED)
