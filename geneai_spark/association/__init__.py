"""Association between variants and traits."""
