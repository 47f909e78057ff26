"""One file per wire format: parse a request, read usage and text, render an error. Pure."""
