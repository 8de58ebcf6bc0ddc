"""The provider: sends mail over SMTP. Settings: SMTP_HOST and SMTP_PORT."""

import os
import smtplib
from email.message import EmailMessage

TEXTS = {
    "welcome": "Welcome, {name}! Confirm your address: {verificationLink}",
    "password-reset": "Choose a new password: {link}",
    "daily-report": "Everything is well.",
}


class Provider:
    """Sends mail; it blocks, so what calls it runs in a thread."""

    def __init__(self) -> None:
        self.host = os.environ.get("SMTP_HOST", "localhost")
        self.port = int(os.environ.get("SMTP_PORT", "25"))

    def send(self, to: str, template: str, data: dict[str, str] | None = None) -> None:
        """Send one mail, or raise `OSError` or `smtplib.SMTPException`."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "shop@example.com", to, template
        mail.set_content(TEXTS.get(template, template).format_map(data or {}))
        with smtplib.SMTP(self.host, self.port, timeout=10) as server:
            server.send_message(mail)
