"""The app for `toril worker toril.integrations.django.app`, and for child processes of workers.

Importing it sets Django up, by DJANGO_SETTINGS_MODULE, and imports all tasks.
"""

import django
from django.apps import apps
from django.conf import settings

from toril.errors import ConfigError

from .jobs import get_toril, import_tasks

if not apps.ready:
    django.setup()
if not apps.is_installed("toril.integrations.django"):
    raise ConfigError(
        "toril.integrations.django is not in INSTALLED_APPS",
        field="INSTALLED_APPS",
        hint=f"add it in {settings.SETTINGS_MODULE}",
    )
import_tasks()
app = get_toril()
