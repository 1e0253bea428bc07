"""The report against hand-made tables: counts, figures, privacy, escaping, the same bytes."""

from __future__ import annotations

import datetime
import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from geneai_spark.jobs import make_report
from scipy import stats

from geneai_spark import store, tables
from geneai_spark.errors import InputError, TableError
from geneai_spark.report import page
from geneai_spark.report.blocks import Grid, Section
from geneai_spark.report.study import Options
from tests import conftest
from tests import study_tables as made

WRITTEN = conftest.REPORT_WRITTEN


class Parsed(HTMLParser):
    """What stands in the page: tables and figures by id, headings, ids, references, text."""

    def __init__(self, html):
        super().__init__()
        self.tables, self.figures, self.headings, self.ids = {}, {}, [], []
        self.tags, self.links, self.text, self.words = set(), [], [], []
        self._table, self._open = None, []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.add(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given[k] for k in ("href", "src", "xlink:href") if k in given]
        if tag == "figure":
            self.figures[given["id"]] = None
        if tag == "svg":
            self.figures[next(reversed(self.figures))] = given["aria-label"]
        if tag == "table":
            self._table = self.tables.setdefault(given["id"], [])
        if tag == "tr":
            self._table.append([])
        if tag not in ("meta", "link", "path", "rect", "use", "image", "br"):
            self._open.append((tag, len(self.text)))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if self._open and self._open[-1][0] == tag:
            self._open.pop()

    def handle_endtag(self, tag):
        if tag in ("path", "rect", "use", "image"):
            return
        opened, at = self._open.pop()
        assert opened == tag
        text = " ".join("".join(self.text[at:]).split())
        if tag in ("td", "th"):
            self._table[-1].append(text)
        if re.fullmatch(r"h\d", tag):
            self.headings.append((int(tag[1]), text))

    def handle_data(self, data):
        if not self._open or self._open[-1][0] != "style":
            self.text.append(data)

    def rows(self, name):
        """A table as {first cell: other cells}."""
        return {row[0]: row[1:] for row in self.tables[name][1:]}

    @property
    def all_text(self):
        return " ".join("".join(self.text).split())


@pytest.fixture
def warehouse(study_report):
    return study_report[0]


@pytest.fixture
def built(study_report):
    return study_report[1]


@pytest.fixture
def seen(built):
    return Parsed(built.html)


def test_report__counts_reconcile_with_the_tables(spark, warehouse, seen):
    files = seen.rows("files")
    assert files["/data/chr1.•••.vcf.gz"] == ["variants", "stored", "43", "40", "3", "yes"]
    assert files["/data/traits.csv"] == ["traits", "stored", "60", "60", "0", "yes"]
    assert files["all files"][2:5] == ["103", "100", "3"]
    assert seen.rows("reasons") == {
        "POS: expected an integer, found text": ["2", "1", "100"],
        "REF: expected bases, found none": ["1", "1", "102"],
        "all reasons": ["3", "", ""],
    }
    assert seen.rows("variants-flagged") == {
        "rare": ["5", "12.5 %"],
        "low_call_rate": ["2", "5.0 %"],
        "any check": ["6", "15.0 %"],
        "all variants": ["40", "100.0 %"],
    }
    assert seen.rows("samples-flagged")["any check"] == ["1", "1.7 %"]
    assert seen.rows("inferred-sex") == {"female": ["29"], "male": ["30"], "not told": ["1"]}
    assert seen.rows("relatives") == {
        "duplicate": ["1", "33.3 %"], "first": ["2", "66.7 %"], "all pairs": ["3", "100.0 %"],
    }  # fmt: skip
    assert "leaves 2 samples out" in seen.all_text
    assert seen.rows("kept")["run_gwas"] == [
        "sampleId != '•••'", "59 of 60", "size(flags) = 0", "34",
    ]  # fmt: skip
    for name, version in seen.tables["tables"][1:]:
        assert int(version) == store.version(spark, tables.TABLES[name], warehouse)
    absent = {"features_pca_loadings", "features_pruned_variants", "reads", "alignments",
              "features_kmers", "features_kmer_sketches", "quality_sums",
              "vcf_headers", "examples"}  # fmt: skip
    assert {name for name, _ in seen.tables["tables"][1:]} == tables.TABLES.keys() - absent
    for part in ("GeneAI on Spark", "Apache Spark", "Delta Lake", "Python"):
        assert re.match(r"\d+\.\d+", seen.rows("software")[part][0])


def test_report__numbers_at_the_top(built):
    numbers = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", built.html)
    assert dict(reversed(numbers[:5])) == {
        "samples": "60",
        "variants": "40",
        "variants passed all checks": "34",
        "samples passed all checks": "59",
        "traits tested": "2",
    }


def test_report__a_scan_in_numbers_hits_and_loci(seen, built):
    scan = [row for row in made.tests(made.TRAIT) if row["pValue"] is not None]
    p = np.array([row["pValue"] for row in scan])
    inflation = stats.chi2.isf(np.median(p), 1) / stats.chi2.ppf(0.5, 1)
    assert f"<dt>λ, genomic control</dt><dd>{inflation:.3f}</dd>" in built.html
    assert "<dt>tests</dt><dd>399</dd>" in built.html
    assert built.traits == (made.ODD, made.TRAIT)
    top = seen.tables["t2-top"][1:]
    assert len(top) == 20
    order = sorted(scan, key=lambda row: row["pValue"])
    assert [row[1] for row in top] == [f"{r['contigName']}:{r['start'] + 1:,}" for r in order[:20]]
    assert top[0] == ["rs10", "2:10,001", "A>C", "0.25", "0.5", "0.1", "1.0 × 10⁻²⁰"]
    loci = seen.tables["t2-loci"][1:]
    assert [row[:3] for row in loci] == [
        ["2:10,001–14,001", "3", "rs10"],
        ["1:101,001–101,001", "1", "rs101"],
    ]
    assert "Adjusted for age, PC1" in seen.all_text
    assert "Without a result: 1 allele." in seen.all_text


def test_report__figures_are_there_with_a_description(seen, built):
    assert set(seen.figures) == {
        "read-quality-1", "read-quality-2",
        "call-rate", "frequency", "hwe", "depth", "sample-call-rate", "inbreeding", "titv",
        "sex-check", "pc1-pc2", "pc3-pc4", "scree", "kinship-scatter",
        "t1-manhattan", "t1-qq", "t2-manhattan", "t2-qq", "e1-learning", "e1-null",
    }  # fmt: skip
    assert built.figures == len(seen.figures) == 20
    assert all(len(alt) > 30 for alt in seen.figures.values())
    assert "399 tests" in seen.figures["t2-manhattan"]
    assert len(built.html) < 5e6


def test_report__files_of_reads_the_worst_first(seen):
    assert seen.tables["files-of-reads"][1:] == [
        ["reads2", "2", "2,000", "50", "41.0 %", "10.0 %", "base_quality_median", "duplication"],
        ["reads1", "1", "1,000", "50", "41.0 %", "10.0 %", "", "duplication"],
    ]
    assert "mean 17 at the first base" in seen.figures["read-quality-1"]


def test_report__models_in_numbers(seen):
    assert seen.tables["scored"][1:] == [
        ["forest", "2", made.ODD, "40", "0", "15", "5", "2.0 %"],
        ["ridge", "2", made.ODD, "0", "0", "7", "0", "–"],
    ]
    assert seen.tables["loci-of-1-list"][1:] == [
        ["1", "2:1", "A>C", "0.5", "1.0 × 10⁻⁴", "30", "2"],
        ["2", "2:2,001", "A>C", "0.48", "3.0 × 10⁻⁴", "28", "1"],
    ]
    assert seen.rows("families-1") == {
        "forest": ["45", "15", "0.8 (0.7 to 0.9)", "0.72 (0.62 to 0.82)", "0.71 to 0.75",
                   "0.61 (0.56 to 0.66)", "0.0909"],
        "ridge": ["45", "15", "0.7 (0.6 to 0.8)", "0.62 (0.52 to 0.72)", "0.61 to 0.65",
                  "0.5 (0.48 to 0.52)", "0.0909"],
    }  # fmt: skip
    assert seen.rows("groups-1") == {
        "north": ["32", "0.75 (0.65 to 0.85)", "0.65 (0.55 to 0.75)"],
        "south": ["28", "0.75 (0.65 to 0.85)", "0.65 (0.55 to 0.75)"],
    }
    text = seen.all_text
    assert "forest does not beat ridge: difference in AUC 0.100 (-0.020 to 0.220)" in text
    assert text.count("LEAK: forest tells permuted labels (mean AUC 0.610 (0.560 to 0.660)") == 1
    assert "LEAK: ridge" not in text
    assert "forest from 0.60 to 0.80; ridge from 0.50 to 0.70" in seen.figures["e1-learning"]
    assert "ridge 0.70, permuted 0.42 to 0.60" in seen.figures["e1-null"]


def test_report__self_contained(seen, built):
    assert not seen.tags & {"script", "iframe", "object", "embed", "img", "audio", "video", "form"}
    assert all(link[0] == "#" or link.startswith("data:") for link in seen.links)
    assert "default-src 'none'" in built.html and "://" not in built.html
    assert "@import" not in built.html and not re.search(r"url\((?!#)", built.html)
    inside = {link[1:] for link in seen.links if link[0] == "#"}
    assert inside <= set(seen.ids) and len(seen.ids) == len(set(seen.ids))


def test_report__headings_in_order(seen, built):
    levels = [level for level, _ in seen.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert '<html lang="en">' in built.html and "<title>" in built.html


def test_report__no_sample_id_and_no_rejected_text(built, seen):
    assert "PERSON" not in built.html and "SECRETLINE" not in built.html
    assert "No sample id is shown" in seen.all_text


def test_report__sample_ids_where_asked(spark, warehouse):
    asked = page.build(spark, warehouse, Options(sample_ids=True, colour_by="age"))
    shown = Parsed(asked.html)
    assert list(shown.rows("flagged-samples")) == ["PERSON003"]
    assert [row[:2] for row in shown.tables["pairs"][1:]] == [
        ["PERSON001", "PERSON002"], ["PERSON002", "PERSON005"], ["PERSON008", "PERSON009"],
    ]  # fmt: skip
    assert "chr1.PERSON007.vcf.gz" in asked.html and "SECRETLINE" not in asked.html
    assert "names samples, as was asked" in shown.all_text


def test_report__names_are_text(built, seen):
    assert "<script" not in built.html and "&lt;script&gt;" in built.html
    assert any(made.ODD in text for _, text in seen.headings)
    assert made.ODD in seen.figures["t1-qq"]


def test_report__simulated_traits_say_so(seen):
    assert "Simulated, not measured: simulated_height." in seen.all_text
    assert seen.all_text.count("This trait is simulated") == 1


@pytest.mark.slow
def test_report__same_bytes_another_day_and_from_seven_partitions(
    spark, warehouse, built, tmp_path
):
    """Random ids, times or an order of rows that depends on partitions would show."""
    other, later = str(tmp_path / "tables"), WRITTEN + datetime.timedelta(days=1)
    for table in tables.TABLES.values():
        if store.exists(spark, table, warehouse):
            store.replace(store.read(spark, table, warehouse).repartition(7), table, other)
    again = page.build(spark, other, Options(colour_by="population"), written=later)
    assert again.html.count("2026-07-09") == 1 and built.html.count("2026-07-08") == 1
    html = again.html.replace("2026-07-09", "2026-07-08")
    ours, theirs = (re.sub(r"In the warehouse [^;]*;", "", x) for x in (html, built.html))
    assert ours == theirs


def test_report__what_was_not_run_says_so(spark, tmp_path):
    empty = page.build(spark, str(tmp_path / "nothing"), Options(traits=["height"]))
    text = Parsed(empty.html).all_text
    for sentence in (
        "No input file is recorded for this cohort: run geneai ingest_variants.",
        "No run of this cohort recorded a selection.",
        "The quality of variants has not been measured: run geneai check_quality.",
        "The quality of samples has not been measured: run geneai check_quality.",
        "No principal components: run geneai extract_features.",
        "Relatedness has not been estimated: run geneai extract_features.",
        "height has not been tested: run geneai run_gwas traits=height.",
        "No run is recorded.",
    ):
        assert sentence in text
    assert empty.figures == 0 and empty.traits == ()
    assert "Models" not in text


def test_report__raise_on_unknown_cohort_and_colour(spark, warehouse):
    with pytest.raises(TableError, match="no cohort 'trio'"):
        page.build(spark, warehouse, Options(cohort="trio"))
    with pytest.raises(InputError, match="colour_by: no sample of the cohort has a trait 'eyes'"):
        page.build(spark, warehouse, Options(colour_by="eyes"))


def test_report__counts_that_do_not_reconcile_are_told(spark, tmp_path):
    folder = str(tmp_path / "tables")
    made.inputs(spark, folder)
    fewer = store.read(spark, tables.REJECTS, folder).where("line > 100")
    store.replace(fewer, tables.REJECTS, folder)
    parsed = Parsed(page.build(spark, folder, Options()).html)
    assert parsed.rows("files")["/data/chr1.•••.vcf.gz"][-1] == "NO"
    assert "Does not reconcile: 1 file." in parsed.all_text


def test_make_report__writes_the_file(spark, tmp_path):
    folder, output = str(tmp_path / "tables"), tmp_path / "new" / "r.html"
    made.inputs(spark, folder)
    told = make_report.run(spark, make_report.Config(warehouse=folder, output=f"file:{output}"))
    assert told == {"bytes": output.stat().st_size, "figures": 0, "traits": 0}
    assert Parsed(output.read_text("utf-8")).rows("files")["all files"][2] == "103"


def test_render__raise_on_ids_that_stand_twice():
    one = Section("a", "A", [Grid("t", ("x",), [], name="a")])
    with pytest.raises(ValueError, match="twice in the page: a"):
        page.render([one])
