from django.contrib import admin

from billing.models import Payment, Subscription


@admin.register(Subscription)
class SubscriptionAdmin(admin.ModelAdmin):
    list_display = ["customer", "level", "state", "seats", "current_from", "current_to", "cancels_on", "changed_at"]
    list_filter = ["level", "state"]
    list_select_related = ["customer"]
    autocomplete_fields = ["customer"]
    search_fields = ["customer__email__startswith"]
    ordering = ["-pk"]


@admin.register(Payment)
class PaymentAdmin(admin.ModelAdmin):
    list_display = ["payer", "purpose", "total_cents", "currency_code", "state", "settled_at", "refunded_cents"]
    list_filter = ["state", "currency_code"]
    list_select_related = ["payer"]
    autocomplete_fields = ["payer", "subscription"]
    search_fields = ["payer__email__startswith"]
    ordering = ["-pk"]
