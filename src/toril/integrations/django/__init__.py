"""Django: jobs from settings, a backend of Django's tasks, `manage.py toril`, the admin's dashboard.

Add "toril.integrations.django" to INSTALLED_APPS.
"""

from .jobs import get_toril, start_worker

__all__ = ["get_toril", "start_worker"]
