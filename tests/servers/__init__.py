"""Real servers, for tests and (`make hdfs`, `make s3`, `make cluster`) for people.

Each module has a context manager that starts its server on this machine alone, with free ports,
its files and logs in a folder given, and kills it at the end, whatever happened meanwhile.
"""
