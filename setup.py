"""Packages of the distribution; everything else stands in pyproject.toml.

`jobs/` and `conf/` stand at the top for spark-submit and for editing; installed, they are
`geneai_spark.jobs` and `geneai_spark.conf`.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["geneai_spark", "geneai_spark.*"]),
        "geneai_spark.jobs",
        "geneai_spark.conf",
        "geneai_spark.conf.profiles",
    ],
    package_dir={"geneai_spark.jobs": "jobs", "geneai_spark.conf": "conf"},
)
