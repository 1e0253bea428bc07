"""Settings: one YAML a job, profiles by platform, and what Spark needs (jars, logging)."""
