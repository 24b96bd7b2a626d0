"""The wire formats of requests and stream events, one module each."""
