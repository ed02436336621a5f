from django.contrib import admin

from tests.host.models import User


@admin.register(User)
class UserAdmin(admin.ModelAdmin):
    list_display = ["email", "name", "is_staff"]
    search_fields = ["email__startswith"]
