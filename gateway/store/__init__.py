"""The database: one file per noun, each a table and plain functions on a connection. The home of SQLAlchemy."""
