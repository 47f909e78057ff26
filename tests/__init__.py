"""The gateway's tests; folders mirror the package."""
