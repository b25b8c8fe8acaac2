"""The bytes on the wire: Redis's protocol, the format of messages, and the Lua scripts that Redis runs. No I/O."""
