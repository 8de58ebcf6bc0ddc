"""The Django app: what Django loads because of INSTALLED_APPS."""

from django.apps import AppConfig
from django.core import checks
from django.core.signals import setting_changed

from .checks import check_settings
from .jobs import forget


class TorilConfig(AppConfig):
    """Registers the system checks; `override_settings(TORIL=...)` of tests holds from then on."""

    name = "toril.integrations.django"
    label = "toril"
    verbose_name = "Background jobs"

    def ready(self) -> None:
        """Register what Django calls."""
        checks.register(check_settings)
        setting_changed.connect(forget)
