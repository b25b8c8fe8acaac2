"""WebSocket views in web frameworks: each module has the decorator `websocket` for the framework of its name.

Flask, which has conventions of its own for WebSocket routes, has them in `geventws.flask`.
"""
