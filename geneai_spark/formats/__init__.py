"""One module a format: files in, tables' rows out."""
