"""Airflow: the nightly run of GeneAI on Spark, by spark-submit, one at a time, tried again once.

Variables: ``geneai_home`` (a checkout or an unpacked release with dist/geneai_spark.zip) and
``geneai_config`` (a copy of conf/run_nightly.yaml).
"""

from __future__ import annotations

import datetime

from airflow import DAG

try:
    from airflow.providers.standard.operators.bash import BashOperator  # Airflow 3
except ImportError:
    from airflow.operators.bash import BashOperator

SUBMIT = (
    "spark-submit --py-files {{ var.value.geneai_home }}/dist/geneai_spark.zip "
    "{{ var.value.geneai_home }}/jobs/run_nightly.py --config {{ var.value.geneai_config }}"
)

with DAG(
    dag_id="geneai_nightly",
    schedule="0 1 * * *",
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=1,  # a second one of the same night would only wait and fail
    default_args={"retries": 1, "retry_delay": datetime.timedelta(minutes=10)},
    tags=["genomics"],
):
    BashOperator(task_id="run_nightly", bash_command=SUBMIT, append_env=True)
