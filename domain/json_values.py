"""JSON as it is stored."""

JsonObject = dict[str, object]
