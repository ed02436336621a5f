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
    """Counts up to 10,000 rows and no further, so neither the count nor the last page's offset grows with the table.

    A list's queryset may say `capped_count`, a cheaper way to count it, or `most_counted`, a nearer end.
    """

    object_list: QuerySet[Any]

    @property
    def most(self) -> int:
        return getattr(self.object_list, "most_counted", MOST_COUNTED)

    @cached_property
    def found(self) -> int:
        """The number of rows; one more than is counted stands for “more than that”."""
        if count := getattr(self.object_list, "capped_count", None):
            return int(count())
        return self.object_list.order_by().values("pk")[: self.most + 1].count()

    @property
    def is_capped(self) -> bool:
        return self.found > self.most

    @cached_property
    def count(self) -> int:
        return min(self.found, self.most)
