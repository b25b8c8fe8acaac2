"""WebSockets in Django; a whole project in one file.

    python examples/frameworks/django_app.py [PORT]
    gunicorn -k gevent --chdir examples/frameworks django_app:application

In a project of several files, only its urls.py changes.
"""

import sys

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from gevent import pywsgi

from geventws.frameworks.django import websocket

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    SECRET_KEY="not for production",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
    USE_TZ=True,
)


def index(request):
    return HttpResponse("a page")


def echo(request, ws):
    for message in ws:
        ws.send(message)


def private(request):
    if request.GET.get("key") != "open sesame":
        raise PermissionDenied  # the handshake is not answered yet: this is a plain HTTP response
    return websocket(echo)(request)


def hello(request, ws, name):
    ws.send(f"hello {name}")


urlpatterns = [
    path("", index),
    path("echo", websocket(echo, max_message_size=1 << 22)),
    path("private", private),
    path("hello/<name>", websocket(hello)),
]
application = get_wsgi_application()


if __name__ == "__main__":
    server = pywsgi.WSGIServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), application)
    server.start()
    print(f"Listening at: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
