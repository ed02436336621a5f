from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from billing.views import Shop

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("shop/", Shop.as_view(), name="shop"),
    path("admin/", admin.site.urls),
]
