"""A Flask app whose mails are sent by background jobs, with live progress.

pip install toril flask gunicorn
gunicorn --preload --threads 4 app:web
flask toril worker                    # or, in several processes: toril worker app.py

curl -X POST localhost:8000/mails -d to=ada@example.com
curl -N localhost:8000/mails/1/events
"""

from typing import Any

from flask import Flask, Response, current_app, request

from toril import Job, Toril, sync
from toril.integrations.flask import FlaskToril, current_toril, stream_job

jobs = Toril()  # the store is $TORIL_URL, or toril.db
extension = FlaskToril(jobs)


@jobs.task(queue="mails", attempts=3)
def send_mail(job: Job, to: str) -> str:
    job.progress(50)
    return f"sent to {to} by {current_app.config['SENDER']}"


def create_app() -> Flask:
    web = Flask(__name__)
    web.config["SENDER"] = "shop@example.com"
    extension.init_app(web)

    @web.post("/mails")
    def send() -> tuple[dict[str, str], int]:
        return {"id": send_mail.enqueue_sync(request.form["to"]).id}, 202

    @web.get("/mails")
    def listing() -> dict[str, Any]:
        mails = current_toril().queue("mails")
        return {"ids": [job.id for job in sync.iterate(mails.jobs())]}

    @web.get("/mails/<job_id>/events")
    def follow(job_id: str) -> Response:
        return stream_job(sync.run(current_toril().queue("mails").job(job_id)))

    return web


web = create_app()
