"""WebSocket views in web frameworks: each module has the decorator `websocket` for the framework of its name.

For Flask there is `geventws.flask`, which follows Flask-Sock's conventions.
"""
