"""What people open a dashboard for, in the number of clicks that it may take."""

from tests.browser.conftest import Screen, Site


async def test_why_did_this_job_fail_with_its_id_in_hand(screen: Screen) -> None:
    await screen.open("", "Needs attention")
    await screen.search("invoice-21")
    await screen.sees("Why it failed", "KeyError", "send_invoice", "rates[country]")
    assert screen.clicks == 0


async def test_why_did_it_fail_from_the_list(screen: Screen) -> None:
    await screen.open("jobs?q=state:failed", "send_welcome")
    await screen.click(screen.page.locator("tbody a", has_text="send_welcome").first)
    await screen.sees("Why it failed", "Connection unexpectedly closed")
    assert screen.clicks == 1


async def test_retry_all_failed_in_a_queue(screen: Screen, site: Site) -> None:
    await screen.open("", "email")
    site.tell("mend")
    await screen.click(screen.page.locator("tbody a", has_text="email"))
    await screen.click("Retry failed…")
    await screen.sees("Retry: 13 jobs.", "Connection unexpectedly closed")
    await screen.click("Retry 13 jobs")
    assert screen.clicks == 3
    await screen.until("document.body.innerText.match(/failed 0\\b/)")
    await screen.sees("completed 40")


async def test_same_cause_how_many_and_since_when(screen: Screen) -> None:
    await screen.open("", "Needs attention")
    await screen.click(screen.page.locator("nav.rail a", has_text="Errors"))
    row = screen.page.locator("tr", has_text="no space left for #")
    await row.get_by_text("14", exact=True).wait_for()
    assert "resize" in await row.inner_text()
    assert screen.clicks == 1


async def test_the_stack_of_a_cause(screen: Screen) -> None:
    await screen.open("errors", "OSError")
    await screen.click("OSError")
    await screen.sees("Last time", "no space left for", "Still failed", "in resize")
    assert screen.clicks == 1


async def test_retry_all_of_one_cause(screen: Screen) -> None:
    await screen.open("", "OSError in resize")
    item = screen.page.locator(".attention li", has_text="OSError in resize")
    await screen.click(item.get_by_role("button"))
    await screen.sees("Retry: 14 jobs.")
    await screen.click("Retry 14 jobs")
    assert screen.clicks == 2
    await screen.sees("Retry: 14 done")


async def test_throughput_is_on_the_first_page(screen: Screen) -> None:
    await screen.open("", "Needs attention")
    chart = screen.page.get_by_role("img", name="Throughput. completed: latest")
    await chart.wait_for()
    await chart.locator("canvas").wait_for()
    await screen.press("d")
    await screen.page.get_by_role("columnheader", name="retried").wait_for()
    assert screen.clicks == 0


async def test_slow_jobs_are_found_by_their_run_time(screen: Screen) -> None:
    await screen.open("", "Needs attention")
    await screen.search("queue:video:encode run:>150ms")
    await screen.until("document.querySelectorAll('main tbody tr').length === 6")
    assert screen.clicks == 0


async def test_who_did_what(screen: Screen) -> None:
    await screen.open("job?queue=billing&id=1", "send_invoice")
    await screen.press("r")
    await screen.sees("Retry: 1 done")
    await screen.open("", "Needs attention")
    await screen.click("Audit log")
    row = screen.page.locator("main tbody tr", has_text="billing").first
    await row.wait_for()
    assert "ann" in await row.inner_text()
    assert screen.clicks == 1


async def test_who_runs_what(screen: Screen) -> None:
    await screen.open("", "Needs attention")
    await screen.click(screen.named("Workers", "link"))
    await screen.sees("Who ran what", "web-1", "web-2", "alive")
    assert screen.clicks == 1


async def test_find_by_data(screen: Screen) -> None:
    await screen.open("", "Needs attention")
    await screen.search("args.email:user17@example.org")
    await screen.sees("send_welcome")
    await screen.until("document.querySelectorAll('main tbody tr').length === 1")
    assert screen.clicks == 0


async def test_flow_as_a_tree_and_as_a_waterfall(screen: Screen) -> None:
    await screen.open("", "Needs attention")
    await screen.search("report-12")
    node = screen.page.locator("a.node", has_text="render")
    await node.wait_for()
    assert "failed" in (await node.text_content() or "")
    assert screen.clicks == 0
    await screen.click("Waterfall")
    await screen.page.locator(".critical").first.wait_for()
    assert "flow=waterfall" in screen.page.url
    assert screen.clicks == 1


async def test_pause_a_queue_with_a_reason_and_resume_it(screen: Screen) -> None:
    await screen.open("queue?name=billing", "Pause…")
    await screen.press("p")
    await screen.page.get_by_label("Reason").fill("provider down")
    await screen.press("Enter")
    await screen.sees("Pause: 1 done", "paused")
    await screen.click("Undo")
    await screen.sees("Resume: 1 done")
    await screen.named("Pause…").wait_for()
    assert screen.clicks == 1


async def test_pause_a_schedule_and_resume_it(screen: Screen) -> None:
    await screen.open("schedules?schedule=reports|nightly-report", "Run now")
    await screen.press("p")
    await screen.page.get_by_label("Reason").fill("provider down")
    await screen.press("Enter")
    await screen.sees("Pause: 1 done", "paused", "provider down")
    await screen.click("Resume")
    await screen.sees("Resume: 1 done")
    await screen.named("Pause…").wait_for()
    assert screen.clicks == 1


async def test_next_runs_are_on_the_first_page(screen: Screen) -> None:
    await screen.open("", "Next runs", "nightly-report", "every day at 03:00, Europe/Berlin")
    assert screen.clicks == 0


async def test_a_schedule_in_two_zones_runs_now(screen: Screen) -> None:
    await screen.open("", "Next runs")
    await screen.click("nightly-report")
    await screen.sees("Your time", "Europe/Berlin")
    await screen.click("Run now")
    await screen.sees("Run now: 1 done")
    assert screen.clicks == 2


async def test_no_worker_serves_a_queue(screen: Screen) -> None:
    await screen.open("", "No worker serves ünserved")


async def test_delete_what_a_filter_shows_after_a_preview(screen: Screen) -> None:
    await screen.open("jobs?q=queue:scrap", "old")
    boxes = screen.page.locator("tbody input[type=checkbox]")
    await boxes.first.check()
    await boxes.last.click(modifiers=["Shift"])
    await screen.sees("3 selected")
    await screen.click("Delete…")
    await screen.sees("Delete: 3 jobs.")
    await screen.click("Delete 3 jobs")
    await screen.sees("Delete: 3 done", "No job matches")


async def test_edit_and_run_again_leaves_the_old_job(screen: Screen) -> None:
    await screen.open("job?queue=billing&id=invoice-21", "Why it failed")
    await screen.press("e")
    await screen.sees("A new job is added")
    await screen.page.get_by_label("country").fill('"FR"')
    await screen.click("Run again")
    await screen.sees("completed", "4.2")
    assert "invoice-21" not in screen.page.url
    assert screen.clicks == 1


async def test_add_a_job_with_the_parameters_of_its_task(screen: Screen) -> None:
    await screen.open("add?task=send_invoice", "order", "int", "str · optional")
    assert await screen.page.get_by_label("country").input_value() == '"DE"'
    await screen.page.get_by_label("order").fill("9007199254740993")
    await screen.click(screen.named("Add a job", "button"))
    await screen.sees("Job added", "9007199254740993")


async def test_a_wrong_argument_is_refused_in_place(screen: Screen) -> None:
    await screen.open("add?task=send_invoice", "order")
    await screen.page.get_by_label("order").fill('"many"')
    await screen.click(screen.named("Add a job", "button"))
    await screen.page.get_by_role("alert").wait_for()
    assert "order" in await screen.page.get_by_role("alert").inner_text()
    # The browser itself reports an answer with an error status.
    screen.said[:] = [text for text in screen.said if "Failed to load resource" not in text]


async def test_secrets_are_hidden_until_they_are_revealed_with_a_reason(screen: Screen) -> None:
    await screen.open("job?queue=email&id=1", "Arguments", "hidden")
    assert "sk-secret-4711" not in await screen.page.content()
    await screen.click("Reveal…")
    await screen.page.get_by_label("Reason").fill("customer asked")
    await screen.press("Enter")
    await screen.sees("sk-secret-4711")
