"""The example's settings, with everything in memory."""

from typing import Any

from examples.django.shop import settings as shop

SECRET_KEY, ALLOWED_HOSTS, USE_TZ = shop.SECRET_KEY, shop.ALLOWED_HOSTS, True
MIDDLEWARE, TEMPLATES = shop.MIDDLEWARE, shop.TEMPLATES
DEFAULT_AUTO_FIELD = shop.DEFAULT_AUTO_FIELD
INSTALLED_APPS = [each for each in shop.INSTALLED_APPS if each != "shop"]
ROOT_URLCONF = "tests.integrations.django_site.urls"
DATABASES: dict[str, Any] = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "CONN_MAX_AGE": 0}
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
BACKEND = "toril.integrations.django.backend.TorilBackend"
TORIL = {"URL": ":memory:"}
TASKS = {
    "default": {
        "BACKEND": BACKEND,
        "QUEUES": [],
        "OPTIONS": {"JOBS": {"attempts": 2, "backoff": 0}},
    },
    "committed": {"BACKEND": BACKEND, "QUEUES": [], "OPTIONS": {"ENQUEUE_ON_COMMIT": True}},
}
