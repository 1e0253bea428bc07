"""Models of samples, a module a family; `FAMILIES` names them."""

from __future__ import annotations

from collections.abc import Mapping

from geneai_spark.models import disease, prediction
from geneai_spark.models.family import Family

FAMILIES: Mapping[str, Family] = {"disease_association": disease, "genomic_prediction": prediction}
