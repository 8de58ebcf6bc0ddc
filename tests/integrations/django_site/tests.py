"""Run by `python -m django test`: the backend, the settings, the connections and the dashboard."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.checks import run_checks
from django.db import transaction
from django.test import SimpleTestCase, TransactionTestCase, override_settings
from django.utils import timezone

from tests.integrations.django_site import work
from toril import sync
from toril.events import Delayed
from toril.integrations.django import get_toril
from toril.integrations.django.compat import tasks
from toril.integrations.django.jobs import forget, import_tasks
from toril.integrations.django.results import split_result_id

PAUSE = {"action": "pause", "target": {"queue": "default"}}
MISSING = tasks("exceptions").TaskResultDoesNotExist


class Clean(TransactionTestCase):
    def setUp(self) -> None:
        forget(setting="TORIL")
        work.ran.clear()

    def tearDown(self) -> None:
        sync.run(get_toril().close())

    def run_jobs(self) -> None:
        import_tasks()
        sync.run(get_toril().worker(concurrency=1).run_until_idle())


class Results(Clean):
    def test_a_task_runs_and_its_result_is_read_again(self) -> None:
        result = work.add.enqueue(2, other=3)
        assert (result.status, result.attempts) == ("READY", 0)
        assert result.enqueued_at is not None
        self.run_jobs()

        result.refresh()
        again = work.add.get_result(result.id)
        for each in (result, again):
            assert (each.status, each.return_value, each.attempts) == ("SUCCESSFUL", 5, 1)
            assert each.enqueued_at <= each.started_at <= each.finished_at
            assert len(each.worker_ids) == 1
        assert (again.args, again.kwargs, again.task) == ([2], {"other": 3}, work.add)

    def test_an_error_is_kept_for_each_attempt(self) -> None:
        result = work.fail.enqueue()
        self.run_jobs()

        result.refresh()
        assert (result.status, result.attempts) == ("FAILED", 2)
        assert [each.exception_class for each in result.errors] == [ValueError, ValueError]
        assert "no such order" in result.errors[0].traceback
        assert len(result.worker_ids) == 2
        with pytest.raises(ValueError, match="failed"):
            _ = result.return_value

    def test_a_value_that_json_has_not_fails_at_once(self) -> None:
        result = work.give_what_json_has_not.enqueue()
        self.run_jobs()

        result.refresh()
        assert (result.status, work.ran) == ("FAILED", ["gave"])

    def test_coroutines_and_contexts(self) -> None:
        User.objects.create_user("ada")
        counted, told = work.count_users.enqueue(), work.attempt.enqueue()
        self.run_jobs()

        counted.refresh()
        told.refresh()
        assert counted.return_value == 1
        assert told.return_value == [1, told.id]

    def test_a_higher_priority_runs_first_within_its_queue(self) -> None:
        for priority in (-100, 0, 100, 50):
            work.note.using(priority=priority).enqueue(str(priority))
        self.run_jobs()

        assert work.ran == ["100", "50", "0", "-100"]

    def test_a_task_waits_for_its_time(self) -> None:
        later = work.note.using(run_after=timezone.now() + timedelta(hours=1)).enqueue("later")
        past = work.note.using(run_after=timezone.now() - timedelta(hours=1)).enqueue("past")
        queue, job_id = split_result_id(later.id)
        job = sync.run(get_toril().queue(queue).job(job_id))
        assert job is not None
        assert sync.run(job.state()) == "delayed"
        self.run_until(past)

        assert work.ran == ["past"]
        assert work.note.get_result(later.id).task.run_after is not None

    def run_until(self, result: Any) -> None:
        async def wait() -> None:
            import_tasks()
            queue, job_id = split_result_id(result.id)
            async with get_toril().worker():
                job = await get_toril().queue(queue).job(job_id)
                assert job is not None
                await job.result(timeout=5)

        sync.run(wait())

    def test_what_is_no_result_is_said(self) -> None:
        work.add.enqueue(1, 2)
        plain = sync.run(get_toril().queue("default").add("x", {}))
        for each in ("default:nothing", "nothing", "", ":", f"default:{plain.id}"):
            with pytest.raises(MISSING):
                work.add.get_result(each)

    def test_a_job_cannot_name_another_function(self) -> None:
        name = f"{work.__name__}.no_task"
        job = sync.run(get_toril().queue("default").add(name, {"args": [], "kwargs": {}}))
        work.add.enqueue(1, 2)
        import_tasks()

        async def run_once() -> None:
            queue = get_toril().queue("default")
            async with queue.events(after="0") as events, get_toril().worker():
                async for event in events:
                    if isinstance(event, Delayed) and event.job_id == job.id:
                        return

        sync.run(run_once())
        assert work.ran == []


class Commits(Clean):
    def test_what_is_rolled_back_is_not_enqueued(self) -> None:
        task = work.note.using(backend="committed")
        with transaction.atomic():
            kept = task.enqueue("kept")
            assert kept.enqueued_at is None
        with pytest.raises(RuntimeError):
            self.enqueue_in_vain(task)
        self.run_jobs()

        assert work.ran == ["kept"]
        assert work.note.get_result(kept.id).status == "SUCCESSFUL"

    def enqueue_in_vain(self, task: Any) -> None:
        with transaction.atomic():
            task.enqueue("lost")
            raise RuntimeError


class Connections(Clean):
    def test_a_broken_connection_is_left_after_its_job(self) -> None:
        first = work.connection_number.enqueue()
        lost = work.lose_connection.enqueue()
        second = work.connection_number.enqueue()
        self.run_jobs()

        for each in (first, lost, second):
            each.refresh()
            assert each.status == "SUCCESSFUL", each.errors


class Checks(SimpleTestCase):
    def found(self) -> list[str]:
        return [f"{each.id} {each.msg} {each.hint}" for each in run_checks() if "toril" in each.id]

    def test_the_settings_of_the_tests_are_valid_but_for_the_memory(self) -> None:
        assert [each.split()[0] for each in self.found()] == ["toril.W001"]

    def test_what_is_wrong_is_named(self) -> None:
        for setting, value, wanted in (
            ("TORIL", {"ULR": "x"}, "toril.E001 settings.TORIL: TORIL has no key 'ULR'"),
            ("TORIL", "x", "toril.E001 settings.TORIL: TORIL is a str, not a dictionary"),
            ("TORIL", {"URL": "ftp://x"}, "toril.E001 settings.TORIL: "),
            ("TORIL", {"URL": ":memory:", "DEFAULTS": {"atempts": 3}}, "'attempts'"),
        ):
            with self.subTest(value=value), override_settings(**{setting: value}):
                assert any(wanted in each for each in self.found()), self.found()

    def test_options_of_the_backend_are_checked(self) -> None:
        backend = "toril.integrations.django.backend.TorilBackend"
        for options, wanted in (
            ({"ENQEUE_ON_COMMIT": True}, "toril.E003"),
            ({"DATABASE": "other"}, "toril.E004"),
            ({"JOBS": {"atempts": 3}}, "toril.E005"),
            ({"JOBS": 3}, "toril.E005"),
            ({"JOBS": {"id": "7"}}, "toril.E005"),
        ):
            given = {"default": {"BACKEND": backend, "OPTIONS": options}}
            with self.subTest(options=options), override_settings(TASKS=given):
                found = [each.id for each in tasks().task_backends["default"].check()]
                assert found == [wanted]


class Pages(Clean):
    def user(self, name: str, *permissions: str, staff: bool = True) -> None:
        user = User.objects.create_user(name, password=name, is_staff=staff)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        self.client.login(username=name, password=name)

    def act(self) -> int:
        answer = self.client.post(
            "/admin/jobs/api/v1/act",
            json.dumps(PAUSE),
            content_type="application/json",
            headers={"host": "testserver", "origin": "http://testserver", "x-toril": "1"},
        )
        return answer.status_code

    def test_only_who_may_see_jobs_sees_them(self) -> None:
        work.add.enqueue(1, 2)
        queues = "/admin/jobs/api/v1/queues"
        assert self.client.get(queues).status_code == 401
        page = self.client.get("/admin/jobs/", headers={"accept": "text/html"})
        assert (page.status_code, page.url.split("?")[0]) == (302, "/admin/login/")
        for name, permissions, staff, wanted in (
            ("guest", ["view_jobs"], False, 401),
            ("clerk", [], True, 403),
            ("viewer", ["view_jobs"], True, 200),
        ):
            self.user(name, *permissions, staff=staff)
            assert self.client.get(queues).status_code == wanted, name
        found = self.client.get(queues).json()
        assert [each["name"] for each in found["items"]] == ["default"]
        assert "<html" in self.client.get("/admin/jobs/").content.decode()

    def test_only_an_operator_acts(self) -> None:
        work.add.enqueue(1, 2)
        self.user("viewer", "view_jobs")
        assert self.act() == 403
        self.user("operator", "operate_jobs")
        assert self.act() == 200
        assert sync.run(get_toril().queue("default").is_paused())
        audit = self.client.get("/admin/jobs/api/v1/audit").json()["items"]
        assert [(each["user"], each["action"]) for each in audit] == [("operator", "pause")]
