"""The dashboard of an app: pages and an HTTP API, as an ASGI application.

Needs the extra `dashboard`: pip install "toril[dashboard]".
"""

from .access import Access, Auth, any_of, basic_auth, bearer_token, header_user
from .server import Dashboard, DashboardOptions

__all__ = [
    "Access",
    "Auth",
    "Dashboard",
    "DashboardOptions",
    "any_of",
    "basic_auth",
    "bearer_token",
    "header_user",
]
