"""The bus: a PubSub of many processes, over Redis or Valkey."""
