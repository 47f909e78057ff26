"""The ways in which the gateway tells somebody something: by e-mail and by webhook."""
