"""One YAML a platform: Spark settings and the warehouse."""
