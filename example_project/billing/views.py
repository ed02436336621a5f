"""The shop: what is on sale for a customer, and a checkout that only plays at taking money.

A real site calls `tokens.purchase` where its gateway says that a payment has succeeded, which is most often a webhook.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views import View

from billing.models import Payment, Subscription
from django_token_pricing import tokens
from django_token_pricing.exceptions import TokenPricingError


class Shop(LoginRequiredMixin, View):
    login_url = "admin:login"

    def get(self, request: HttpRequest) -> HttpResponse:
        context = {"offers": _offers(request.user), "balance": tokens.balance(request.user)}
        return render(request, "billing/shop.html", context)

    def post(self, request: HttpRequest) -> HttpResponse:
        offer = next((one for one in _offers(request.user) if one.code == request.POST.get("package")), None)
        if offer is None:
            messages.error(request, _("It is not for sale any more."))
            return redirect("shop")
        try:
            done = _checkout(request.user, offer)
        except TokenPricingError as error:
            messages.error(request, error.message)
        else:
            words = _("Thank you. You have %(available)s tokens now.")
            messages.success(request, words % {"available": f"{done.balance_after:,}"})
        return redirect("shop")


@transaction.atomic
def _checkout(customer: Any, offer: tokens.Offer) -> tokens.PurchaseResult:
    """Payment and tokens together: if the one is refused, so is the other."""
    payment = Payment.objects.create(
        payer=customer,
        purpose=f"{offer.tokens:,} tokens",
        total_cents=int(offer.price.amount * 100),
        currency_code=offer.price.currency,
        state=Payment.State.PAID,
        settled_at=timezone.now(),
    )
    paid = (offer.price.amount, offer.price.currency)
    return tokens.purchase(customer, offer.code, payment_ref=f"payment:{payment.pk}", paid=paid)


def _offers(customer: Any) -> list[tokens.Offer]:
    return tokens.packages_for(customer, _currency(customer))


def _currency(customer: Any) -> str:
    latest = Subscription.objects.filter(customer=customer).order_by("-changed_at").first()
    return latest.currency_code if latest else "EUR"
