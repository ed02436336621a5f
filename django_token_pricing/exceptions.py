"""Every error a host can meet: a stable code, the facts as attributes, a translated message made from them."""

from __future__ import annotations

from typing import Any, ClassVar

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class TokenPricingError(Exception):
    """Base of all. `code` is stable across versions, `facts` are also attributes, `message` is for people."""

    code: ClassVar[str] = "token_pricing_error"
    template: ClassVar[Promise | str] = _("The request could not be carried out.")

    def __init__(self, **facts: Any) -> None:
        super().__init__(facts)
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.facts)

    @property
    def message(self) -> str:
        return str(self.template) % self.facts

    def __str__(self) -> str:
        return self.message


def _rebuild(kind: type[TokenPricingError], facts: dict[str, Any]) -> TokenPricingError:
    return kind(**facts)


class InvalidInput(TokenPricingError, ValueError):
    """Something given cannot be taken; nothing was written."""

    code = "invalid_input"
    template = _("%(detail)s")


class InvalidAmount(InvalidInput):
    """Facts: amount, detail."""

    code = "invalid_amount"
    template = _("%(amount)r is not an amount of tokens: %(detail)s")


class InvalidKey(InvalidInput):
    """Facts: detail."""

    code = "invalid_key"
    template = _("The idempotency key cannot be used: %(detail)s")


class InvalidMoment(InvalidInput):
    """Facts: name, value, detail."""

    code = "invalid_moment"
    template = _("%(name)s cannot be %(value)s: %(detail)s")


class InvalidUsage(InvalidInput):
    """Facts: name, detail."""

    code = "invalid_usage"
    template = _("%(name)s cannot be stored: %(detail)s")


class UnknownOwner(TokenPricingError):
    """Facts: owner."""

    code = "unknown_owner"
    template = _("%(owner)s is not a saved user or token pool.")


class AccountClosed(UnknownOwner):
    """The user of the account was deleted. No facts."""

    code = "account_closed"
    template = _("The account is closed: its user was deleted.")


class MemberElsewhere(TokenPricingError):
    """A user is in one pool at most. Facts: user, pool, count (of all who are elsewhere)."""

    code = "member_elsewhere"
    template = _("%(user)s is a member of “%(pool)s”. Of those given, %(count)s are in another pool.")


class UnknownKey(TokenPricingError):
    """No hold or use was booked under this key. Facts: key."""

    code = "unknown_key"
    template = _("Nothing was booked under the key “%(key)s”.")


class InsufficientTokens(TokenPricingError):
    """Facts: requested, available, spendable. Nothing was booked."""

    code = "insufficient_tokens"
    template = _("%(requested)s tokens are needed and %(spendable)s can be spent.")


class LimitExceeded(TokenPricingError):
    """Facts: rule (its number), metric, window, limit, used, requested, retry_after. Nothing was booked.

    `retry_after` is in seconds: after so long the same request would pass if nothing else is used; None where waiting
    does not help.
    """

    code = "limit_exceeded"
    template = _("The limit of %(limit)s %(metric)s would be passed: %(used)s are used and %(requested)s are needed.")


class Throttled(LimitExceeded):
    """The limit asks to slow down. Facts as of LimitExceeded."""

    code = "throttled"
    template = _("The limit of %(limit)s %(metric)s is reached. Try again in %(retry_after)s seconds.")


class ThrottleUnavailable(Throttled):
    """The cache is out of reach, and the limit lets nothing pass unchecked. Facts as of LimitExceeded; used is None."""

    code = "throttle_unavailable"
    template = _("Limits cannot be checked at the moment. Try again in %(retry_after)s seconds.")


class LimitTaken(InvalidInput):
    """There is a limit for the same target, model, feature, metric and window. Facts: rule (its number)."""

    code = "limit_taken"
    template = _("There is a limit for the same already, number %(rule)s. Change that one or retire it.")


class PoolCapReached(LimitExceeded, InsufficientTokens):
    """The pool has the tokens, but the member's monthly cap does not allow them.

    Facts: limit, used (drawn this month and held now), requested, available, spendable.
    """

    code = "pool_cap_reached"
    template = _("The pool's monthly cap of %(limit)s tokens for this member would be passed: %(used)s are used.")


class IdempotencyConflict(TokenPricingError):
    """The key was used before with other facts. Facts: key, detail."""

    code = "idempotency_conflict"
    template = _("The key “%(key)s” was used before for something else: %(detail)s")


class HoldExpired(TokenPricingError):
    """The hold reserves nothing any more. Facts: key, status."""

    code = "hold_expired"
    template = _("The hold “%(key)s” reserves nothing any more; it is %(status)s. Consume the tokens instead.")


class UnsupportedIsolation(TokenPricingError):
    """Facts: isolation."""

    code = "unsupported_isolation"
    template = _("Tokens move only in READ COMMITTED transactions; this one is %(isolation)s.")


class JobChanged(TokenPricingError):
    """Somebody or something was faster. Facts: job, status."""

    code = "job_changed"
    template = _("Job %(job)s is not what it was: its state is “%(status)s” now.")


class ApprovalNeeded(TokenPricingError):
    """A second person has to agree: ask with approvals.ask. Facts: kind, size, above."""

    code = "approval_needed"
    template = _("A second person has to agree: %(size)s is above %(above)s.")


class ApprovalChanged(TokenPricingError):
    """Somebody decided, or it expired. Facts: approval, status."""

    code = "approval_changed"
    template = _("Approval %(approval)s is not what it was: its state is “%(status)s” now.")


class SamePerson(TokenPricingError):
    """Who asks cannot approve. Facts: approval."""

    code = "same_person"
    template = _("Who asks cannot approve: somebody else has to decide about approval %(approval)s.")


class PackageUnavailable(TokenPricingError):
    """The package cannot be bought. Facts: package (its code), currency, detail. Nothing was booked."""

    code = "package_unavailable"
    template = _("The package “%(package)s” cannot be bought: %(detail)s")


class PaymentMismatch(TokenPricingError):
    """What was paid is not the price. Facts: package (its code), price, paid. Nothing was booked."""

    code = "payment_mismatch"
    template = _("The package “%(package)s” costs %(price)s, and %(paid)s was paid.")


class PurchaseCapReached(TokenPricingError):
    """The user has bought the package as often as one may. Facts: package (its code), limit, used, requested."""

    code = "purchase_cap_reached"
    template = _(
        "The package “%(package)s” can be bought %(limit)s times by one user: %(used)s are bought and %(requested)s are"
        " asked for."
    )


class BoostRefused(TokenPricingError):
    """What the boost policy does not allow. Facts: limit (policy, tokens, hours or month), most, asked, detail."""

    code = "boost_refused"
    template = _("There is no boost: %(detail)s")


class NotTakenBack(TokenPricingError):
    """A part of a lot cannot be taken back. Facts: amount, granted."""

    code = "not_taken_back"
    template = _("%(amount)s of %(granted)s tokens cannot be taken back.")


class TokensSpent(NotTakenBack):
    """Facts: amount, granted."""

    code = "tokens_spent"
    template = _("%(amount)s of %(granted)s tokens are spent.")


class TokensHeld(NotTakenBack):
    """Facts: amount, granted."""

    code = "tokens_held"
    template = _("%(amount)s of %(granted)s tokens are held, and stay so.")


class TokensExpired(NotTakenBack):
    """Facts: amount, granted."""

    code = "tokens_expired"
    template = _("%(amount)s of %(granted)s tokens have expired.")


class TokensMoved(NotTakenBack):
    """Somebody subtracted them or voided the lot, or they were carried over into another. Facts: amount, granted."""

    code = "tokens_moved"
    template = _("%(amount)s of %(granted)s tokens were subtracted or carried over before.")


class NotRenewable(TokenPricingError):
    """A subscription cannot be renewed as it is. Facts: subscription (its number), detail."""

    code = "not_renewable"
    template = _("The subscription cannot be renewed: %(detail)s")


class HistoryPruned(TokenPricingError):
    """Facts: before."""

    code = "history_pruned"
    template = _("The history before %(before)s was pruned; ask for a later moment.")


class AppendOnly(TokenPricingError):
    """Facts: table."""

    code = "append_only"
    template = _("Rows of %(table)s are final. Book a refund or a counter entry instead.")


class InvalidPeriod(InvalidInput):
    """Facts: detail."""

    code = "invalid_period"
    template = _("These days cannot be shown: %(detail)s")


class RollupsPruned(TokenPricingError):
    """Facts: before."""

    code = "rollups_pruned"
    template = _("Usage before %(before)s was pruned, so roll-ups from before cannot be checked or made anew.")


class RollupsElsewhere(TokenPricingError):
    """The roll-ups were made in another zone, or from another database. Facts: detail."""

    code = "rollups_elsewhere"
    template = _("%(detail)s Run `token_pricing_rollups rebuild`.")


class InvalidPrice(InvalidInput):
    """Facts: name (of the field), detail."""

    code = "invalid_price"
    template = _("%(name)s of a model price: %(detail)s")


class PriceTaken(InvalidInput):
    """There is a price of the same model and provider from the same moment on. Facts: price (its number), model."""

    code = "price_taken"
    template = _("There is a price of “%(model)s” from that moment on already, number %(price)s. Change that one.")


class InvalidResponse(InvalidInput):
    """What a provider answered holds no usage that can be read. Facts: provider, detail."""

    code = "invalid_response"
    template = _("The usage of %(provider)s cannot be read: %(detail)s")


class ExtraMissing(TokenPricingError):
    """Something optional is not installed. Facts: extra."""

    code = "extra_missing"
    template = _("This needs more to be installed: pip install 'django-token-pricing[%(extra)s]'.")


class AdapterError(TokenPricingError):
    """A host's adapter gave something that cannot be stored. Facts: adapter, ref, detail."""

    code = "adapter_error"
    template = _("%(adapter)s gave “%(ref)s”, which cannot be stored: %(detail)s")


class AdapterFailed(AdapterError):
    """A host's adapter raised. Facts: adapter, detail."""

    code = "adapter_failed"
    template = _("%(adapter)s failed: %(detail)s")


class NoticeFailed(AdapterFailed):
    """The user was not told. Facts: adapter, detail."""

    code = "notice_failed"
    template = _("The user was not told: %(detail)s")
