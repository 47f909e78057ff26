"""The project's measurements: the gateway beside a bare relay, on the same machine in the same run."""
