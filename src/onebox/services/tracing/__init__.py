"""OpenTelemetry traces: where the time of each request went. Off unless an endpoint is set."""
