"""The protocol for clients of rooms, `geventws.rooms.v1`, its endpoint and its client: docs/rooms-protocol.rst."""
