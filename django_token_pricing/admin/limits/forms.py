"""The form of a limit. What a rule is for stays as it is: for something else there is another rule."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_token_pricing.admin.tokens import owners
from django_token_pricing.admin.tokens.forms import KeyForm, MomentInput, TokensField, reason_field
from django_token_pricing.choices import (
    FailureMode,
    LimitAlignment,
    LimitCounting,
    LimitMetric,
    LimitMode,
    LimitScope,
    LimitWindow,
)
from django_token_pricing.models import LimitRule, TokenPool

# They say which rule it is.
FIXED = ("scope", "user", "pool", "tier", "model", "feature", "metric", "window")
WHOM = ("user", "pool", "tier")


class Suggested(forms.TextInput):
    """A text with suggestions: those given here, or those that the address in `data-suggest` knows, with a script."""

    def __init__(self, suggestions: Any = (), **attrs: str) -> None:
        super().__init__({"autocomplete": "off", "class": "vTextField", **attrs})
        self.suggestions = suggestions

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        known = f"{(attrs or {}).get('id', f'id_{name}')}_known"
        field = super().render(name, value, {**(attrs or {}), "list": known}, renderer)
        options = format_html_join("", '<option value="{}"></option>', ((one,) for one in self.suggestions))
        return format_html('{}<datalist id="{}">{}</datalist>', field, known, options)


def _text(label: Any, length: int, help_text: Any = "", widget: Any = None) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=False,
        max_length=length,
        help_text=help_text,
        widget=widget or forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )


def _choice(label: Any, choices: Any, help_text: Any = "") -> forms.ChoiceField:
    return forms.ChoiceField(label=label, choices=choices.choices, help_text=help_text)


class LimitForm(KeyForm):
    scope = _choice(gettext_lazy("For"), LimitScope, gettext_lazy("A limit for fewer goes before one for more."))
    user = _text(gettext_lazy("User"), 254, gettext_lazy("The login."), Suggested())
    pool = _text(gettext_lazy("Pool"), 254, gettext_lazy("The name."), Suggested())
    tier = _text(gettext_lazy("Tier"), 64)
    model = _text(gettext_lazy("Model"), 200, gettext_lazy("Empty: any model."))
    feature = _text(gettext_lazy("Feature"), 100, gettext_lazy("Empty: any feature."))
    metric = _choice(gettext_lazy("Of"), LimitMetric)
    window = _choice(gettext_lazy("Window"), LimitWindow)
    alignment = _choice(
        gettext_lazy("Begins"), LimitAlignment, gettext_lazy("With the calendar, or its own length ago at any moment.")
    )
    time_zone = _text(
        gettext_lazy("Time zone"),
        64,
        gettext_lazy("Of calendar windows. Empty: that of the site."),
        Suggested(),
    )
    limit = TokensField(label=gettext_lazy("Limit"), min_value=0, help_text=gettext_lazy("0 lets nothing pass."))
    mode = _choice(gettext_lazy("At the limit"), LimitMode)
    grace = TokensField(
        label=gettext_lazy("How many more"),
        required=False,
        min_value=0,
        help_text=gettext_lazy("Only with “Allow some more, then refuse”."),
    )
    counting = _choice(
        gettext_lazy("Counted"),
        LimitCounting,
        gettext_lazy("In the cache it costs the database nothing, and counts only where the site asks it."),
    )
    on_failure = _choice(
        gettext_lazy("Without the cache"), FailureMode, gettext_lazy("While the cache cannot be reached.")
    )
    starts_at = forms.DateTimeField(
        label=gettext_lazy("From"), required=False, widget=MomentInput, help_text=gettext_lazy("Empty: at once.")
    )
    ends_at = forms.DateTimeField(
        label=gettext_lazy("Until"),
        required=False,
        widget=MomentInput,
        help_text=gettext_lazy("It ends by itself then. Empty: it stays."),
    )
    reason = reason_field()
    untried = forms.BooleanField(label=gettext_lazy("Save without trying it out"), required=False)

    def __init__(
        self, data: Any = None, *, rule: LimitRule | None, suggest: str = "", initial: dict[str, Any] | None = None
    ) -> None:
        super().__init__(data, initial=initial)
        self.rule = rule
        zones: Any = self.fields["time_zone"].widget
        zones.suggestions = sorted(available_timezones())
        for name in ("user", "pool"):
            if suggest and rule is None:
                self.fields[name].widget.attrs["data-suggest"] = f"{suggest}?kind={name}"
        zone = timezone.get_current_timezone_name()
        for name in ("starts_at", "ends_at"):
            field = self.fields[name]
            field.help_text = _("%(help)s In %(zone)s.") % {"help": field.help_text, "zone": zone}
        for name in FIXED if rule is not None else ():
            self.fields[name].disabled = True

    def clean_user(self) -> Any:
        login = self.cleaned_data["user"].strip()
        if self.rule is not None:
            return self.rule.user
        if not login:
            return None
        found = owners.users_of([login]).get(login)
        if found is None:
            raise forms.ValidationError(_("No user has the login “%(login)s”.") % {"login": login})
        return found

    def clean_pool(self) -> TokenPool | None:
        name = self.cleaned_data["pool"].strip()
        if self.rule is not None:
            return self.rule.pool
        if not name:
            return None
        found: QuerySet[TokenPool] = TokenPool.objects.filter(name=name)
        pools = [pool for pool in found[:10] if pool.name == name]
        if not pools:
            raise forms.ValidationError(_("No pool is called “%(name)s”.") % {"name": name})
        return pools[0]

    def clean(self) -> dict[str, Any]:
        """What goes with what, said at the field that has to change."""
        given: dict[str, Any] = super().clean() or self.cleaned_data
        scope = given.get("scope")
        for name in WHOM if scope and self.rule is None else ():
            if name in self.errors:
                continue
            if name == scope and not given.get(name):
                self.add_error(name, _("Say whom it is for."))
            elif name != scope and given.get(name):
                words = _("A limit for “%(scope)s” takes none: leave it empty, or choose another above.")
                self.add_error(name, words % {"scope": LimitScope(scope).label})
        mode, grace = given.get("mode"), given.get("grace")
        if "grace" not in self.errors and mode:
            if mode == LimitMode.GRACE and not grace:
                self.add_error("grace", _("Say how many more."))
            elif mode != LimitMode.GRACE and grace:
                self.add_error("grace", _("Only “%(mode)s” takes it.") % {"mode": LimitMode.GRACE.label})
        starts_at, ends_at = given.get("starts_at"), given.get("ends_at")
        if starts_at and ends_at and ends_at <= starts_at:
            self.add_error("ends_at", _("It would end before it begins."))
        return given

    def values(self) -> dict[str, Any]:
        """What `draft` and `set_limit` take."""
        names = [name for name in self.fields if name not in ("key", "reason", "untried")]
        found = {name: self.cleaned_data[name] for name in names}
        found["grace"] = found["grace"] or 0
        for name in ("starts_at", "ends_at"):
            # A field shows seconds, and the row may hold less.
            if self.rule is not None and name not in self.changed_data:
                found[name] = getattr(self.rule, name)
        return found


def initial_of(rule: LimitRule) -> dict[str, Any]:
    names = [name for name in LimitForm.base_fields if name not in ("key", "reason", "untried", "user", "pool")]
    return {
        **{name: getattr(rule, name) for name in names},
        "grace": rule.grace or None,
        "user": "" if rule.user is None else rule.user.get_username(),
        "pool": "" if rule.pool is None else rule.pool.name,
    }
