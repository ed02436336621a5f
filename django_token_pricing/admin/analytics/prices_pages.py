"""What the pages beside the price list share."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst
from django.views.generic import View

from django_token_pricing.admin.analytics.section import NAME, may
from django_token_pricing.admin.base.mixins import Link, list_url
from django_token_pricing.admin.base.wording import NOTHING, decimal
from django_token_pricing.models import ModelPrice

LONGEST_NAME = 60


def amount(value: Decimal | None) -> str:
    return NOTHING if value is None else decimal(value)


def breakable(name: str) -> SafeString:
    """The name of a model may go on in the next line after a sign, and a narrow column breaks it nowhere else."""
    parts = re.split(r"(?<=[-/._:@])", name)
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in parts))


class PricePage(View):
    """A page for who may look at the price list and has the permissions, asked on each request."""

    model_admin: Any = None
    permissions: ClassVar[tuple[str, ...]] = ()
    template: ClassVar[str] = ""

    @classmethod
    def is_open_to(cls, model_admin: Any, request: HttpRequest) -> bool:
        return model_admin.has_view_permission(request) and may(request, *cls.permissions)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not self.is_open_to(self.model_admin, request):
            raise PermissionDenied
        # As the stock views do: links in templates stay on this site.
        request.current_app = self.model_admin.admin_site.name
        return super().dispatch(request, *args, **kwargs)

    def back(self) -> str:
        return list_url(self.model_admin.admin_site, ModelPrice)

    def page(self, title: str, **context: Any) -> TemplateResponse:
        model_admin = self.model_admin
        return TemplateResponse(
            self.request,
            self.template,
            {
                **model_admin.admin_site.each_context(self.request),
                "opts": model_admin.opts,
                "media": model_admin.media,
                "title": title,
                "trail": [Link(str(capfirst(str(model_admin.opts.verbose_name_plural))), self.back())],
                "tabs": model_admin.tabs(self.request),
                "section_name": NAME,
                "back": self.back(),
                **context,
            },
        )
