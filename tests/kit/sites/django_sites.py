"""Django, whose settings are those of a process, for several sites in one."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.test import override_settings


def make_site(module: str, *middleware: str) -> Any:
    """Return the application with a module's `urlpatterns`.

    Args:
        module: its name.
        middleware: names of functions, of which those without a dot stand in the module; one of these sets `urlconf`.
    """
    if not settings.configured:
        settings.configure(
            ADMINS=["ann@example.org" if django.VERSION >= (6,) else ("ann", "ann@example.org")],
            ALLOWED_HOSTS=["127.0.0.1"],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            ROOT_URLCONF=module,  # has to be there; each site leads its requests by itself
            SECRET_KEY="of the tests",
            SESSION_ENGINE="django.contrib.sessions.backends.cache",
            USE_TZ=True,
        )
    with override_settings(MIDDLEWARE=[name if "." in name else f"{module}.{name}" for name in middleware]):
        return get_wsgi_application()
