"""The addresses of the tests: those of the admin and the dashboard."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/jobs/", include("toril.integrations.django.urls")),
    path("admin/", admin.site.urls),
]
