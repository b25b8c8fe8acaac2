"""The protocol for clients of rooms, `geventws.rooms.v1`, and the door that speaks it: docs/rooms-protocol.rst."""
