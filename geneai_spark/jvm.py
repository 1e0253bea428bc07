"""Classes and collections of the driver's JVM, with few questions to it.

Written with dots, py4j asks for each part of a name, and the JVM looks for a part that is no class
in each of Spark's 300 jars: 1-10 ms a part. A collection in a ``for`` ends by an exception, which
PySpark asks fifty questions about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyspark.sql import SparkSession


def java(spark: SparkSession, name: str) -> Any:
    """A class by its full name; what has none of that name fails when it is called."""
    assert spark._jvm is not None
    return getattr(spark._jvm, name)


def scala(spark: SparkSession, values: Any) -> Any:
    """A Java collection as Scala's."""
    return java(spark, "scala.jdk.javaapi.CollectionConverters").asScala(values)


def elements(spark: SparkSession, values: Any) -> Iterator[Any]:
    """What is in a Scala collection."""
    found = java(spark, "scala.jdk.javaapi.CollectionConverters").asJavaCollection(values).toArray()
    return (found[i] for i in range(len(found)))


def none(spark: SparkSession) -> Any:
    """Scala's None."""
    return java(spark, "scala.Option").apply(None)
