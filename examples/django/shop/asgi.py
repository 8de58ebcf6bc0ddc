"""uvicorn shop.asgi:application; with RUN_WORKER=1 the jobs run in this process, too."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_asgi_application()

if os.environ.get("RUN_WORKER") == "1":
    from toril.integrations.django import start_worker

    start_worker(concurrency=2)
