"""The addresses of the shop, and what answers there."""

from django.contrib import admin
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from toril import sync
from toril.integrations.django import get_toril

from .tasks import make_report, send_mail


@csrf_exempt
@require_POST
def sign_up(request: HttpRequest) -> JsonResponse:
    """Store a user, and enqueue the mail with the commit."""
    name = request.POST["name"]
    with transaction.atomic():
        result = send_mail.enqueue(name)
        User.objects.create_user(name, email=f"{name}@example.com")
    return JsonResponse({"id": result.id}, status=202)


def mail(request: HttpRequest, result_id: str) -> JsonResponse:
    result = send_mail.get_result(result_id)
    value = result.return_value if result.is_finished else None
    return JsonResponse({"status": result.status, "value": value})


@csrf_exempt
@require_POST
def report(request: HttpRequest) -> JsonResponse:
    job = make_report.enqueue_sync(int(request.POST["pages"]))
    return JsonResponse({"id": job.id}, status=202)


def progress(request: HttpRequest, job_id: str) -> JsonResponse:
    job = sync.run(get_toril().queue("reports").job(job_id))
    if job is None:
        return JsonResponse({"detail": "there is no such job"}, status=404)
    state = sync.run(job.state())
    return JsonResponse({"state": state, "progress": job.last_progress})


urlpatterns = [
    path("admin/jobs/", include("toril.integrations.django.urls")),
    path("admin/", admin.site.urls),
    path("users", sign_up),
    path("mails/<str:result_id>", mail),
    path("reports", report),
    path("reports/<str:job_id>", progress),
]
