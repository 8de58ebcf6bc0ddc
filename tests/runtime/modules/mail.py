"""Tasks of a module that does not know the app."""

from toril import Blueprint

mail = Blueprint("mail")


@mail.task(queue="mail")
async def welcome(to: str) -> str:
    return f"sent to {to}"
