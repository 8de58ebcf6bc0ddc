"""The dashboard's address: `path("admin/jobs/", include("toril.integrations.django.urls"))`."""

from django.urls import re_path

from .dashboard import dashboard

app_name = "toril"
urlpatterns = [re_path(r"^(?P<path>.*)$", dashboard, name="dashboard")]
