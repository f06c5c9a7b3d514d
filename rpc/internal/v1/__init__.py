"""Messages among an installation's own processes, generated from proto/stepwell/internal/v1."""
