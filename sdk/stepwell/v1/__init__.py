"""The public API, as protoc generates it from proto/stepwell/v1: `make stubs`."""
