"""Every stored table, declared once: key, columns with comments, layout.

Coordinates are 0-based and half-open everywhere.
"""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DoubleType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    TimestampType,
)

from geneai_spark.table import Table, columns

TEXT, INT, LONG, DOUBLE = StringType(), IntegerType(), LongType(), DoubleType()
BOOL = BooleanType()
TIME, BINARY, TEXTS = TimestampType(), BinaryType(), ArrayType(TEXT)
INTS, DOUBLES, LONGS = ArrayType(INT), ArrayType(DOUBLE), ArrayType(LONG)

_CONTIG = ("contigName", TEXT, "chromosome or contig, as named in the file or normalised")
_START = ("start", LONG, "first base, 0-based: VCF POS - 1")
_END = ("end", LONG, "position after the last base, 0-based, exclusive")
_SOURCE = ("sourceId", TEXT, "the file: first 16 hex digits of the sha256 of its URI")
_COHORT = ("cohort", TEXT, "name of the set of samples that share one sample order")
_REF = ("referenceAllele", TEXT, "REF")
_ALTS = ("alternateAlleles", TEXTS, "ALT alleles in order; empty for `.`")
_SAMPLE_INDEX = ("sampleIndex", INT, "position in the packed genotype vectors, from 0")
_SAMPLE = ("sampleId", TEXT, "the sample's id in the file header; identifies a person: protect")
_FLAGS = ("flags", TEXTS, "names of the failed checks; empty: passed all")

VARIANTS = Table(
    "variants",
    "a VCF record; genotypes are packed, one binary value a record and field",
    ("sourceId", "contigName", "start", "referenceAllele", "alternateAlleles"),
    columns(
        _CONTIG,
        _START,
        _END,
        _SOURCE,
        _COHORT,
        ("names", TEXTS, "ID, split at `;`; empty for `.`"),
        _REF,
        _ALTS,
        ("qual", DOUBLE, "QUAL; null for `.`"),
        ("filters", TEXTS, "FILTER, split at `;`; null for `.`, else PASS or the failed filters"),
    ),
    cluster_by=("contigName", "start"),
    statistics=("contigName", "start", "end", "sourceId"),
    open_columns=("INFO_*", "call_*"),
    optional=columns(
        ("call_ploidy", INT, "width of the record's genotype matrix: longest call, at least 2"),
        (
            "call_genotype",
            BINARY,
            "allele indices, (samples, ploidy), row-major, int8 (int16 past 126 ALT alleles); "
            "-1 missing, -2 absent",
        ),
        (
            "call_genotype_phased",
            BINARY,
            "bits, little-endian order, of (samples, ploidy - 1): phased with the allele before",
        ),
        ("call_undeclared", MapType(TEXT, TEXT), "FORMAT fields of unknown type, TAB-joined text"),
        ("INFO_undeclared", MapType(TEXT, TEXT), "INFO fields of unknown type, as text"),
    ),
)

SAMPLES = Table(
    "samples",
    "a sample of a cohort",
    ("cohort", "sampleIndex"),
    columns(
        _COHORT,
        _SAMPLE_INDEX,
        _SAMPLE,
        ("sourceId", TEXT, "the first file that brought the cohort's samples"),
    ),
)

VCF_HEADERS = Table(
    "vcf_headers",
    "the header of an ingested VCF file",
    ("sourceId",),
    columns(
        _SOURCE,
        (
            "lines",
            TEXTS,
            "its ## lines in order, contigs as named in `variants`, and one for each reserved key "
            "used without a line; not those that name people: ##SAMPLE, ##PEDIGREE, #CHROM",
        ),
    ),
)

TRAITS = Table(
    "traits",
    "a sample's value of one trait, covariate or clinical variable; missing values have no row",
    ("cohort", "sampleId", "trait"),
    columns(
        _COHORT,
        _SAMPLE,
        ("trait", TEXT, "name of the column in the file"),
        ("value", DOUBLE, "the value where the trait is numeric, else null"),
        ("text", TEXT, "the value where the trait is not numeric, else null"),
        _SOURCE,
    ),
)

REJECTS = Table(
    "rejects",
    "an input line that was not stored; lines in = stored + rejected, always",
    ("sourceId", "line", "offset"),
    columns(
        _SOURCE,
        ("line", LONG, "1-based line number in the text; null where unknown"),
        ("offset", LONG, "byte offset of the line or block; null where unknown"),
        ("reason", TEXT, "why: field, expected, found"),
        ("text", TEXT, "the line's first characters, as in the file"),
    ),
)

READS = Table(
    "reads",
    "a sequencing read",
    ("sourceId", "offset"),
    columns(
        _SOURCE,
        ("cohort", TEXT, "name of the set of samples that the reads belong to"),
        ("sampleId", TEXT, "the sample, as told or by the file's name; may identify: protect"),
        ("offset", LONG, "where the record begins in the file: bytes (of the text), BGZF: virtual"),
        ("readName", TEXT, "name, without comment; of paired files without /1 and /2"),
        ("mate", INT, "1 or 2 of a pair, 0 for single reads"),
        ("pairKey", LONG, "with readName joins the mates of a pair; null for single reads"),
        ("sequence", TEXT, "bases as in the file"),
        ("quality", TEXT, "a character a base, Phred+33 whatever the file had"),
    ),
    statistics=("sourceId", "cohort", "sampleId", "offset"),
)

ALIGNMENTS = Table(
    "alignments",
    "an aligned read, or one that a file of alignments holds unaligned: a SAM or BAM record",
    ("sourceId", "offset"),
    columns(
        ("contigName", TEXT, "RNAME: the reference sequence, as in the file; null for `*`"),
        ("start", LONG, "first aligned base, 0-based: POS - 1; null for 0"),
        ("end", LONG, "position after the last aligned base, by CIGAR; null without; exclusive"),
        _SOURCE,
        ("cohort", TEXT, "name of the set of samples that the reads belong to"),
        ("sampleId", TEXT, "SM of the read group, else as told or the file's name; protect"),
        ("readGroup", TEXT, "tag RG; null without"),
        ("offset", LONG, "where the record begins in the file: bytes (of the text), BGZF: virtual"),
        ("readName", TEXT, "QNAME; null for `*`"),
        ("flags", INT, "FLAG: bits, e.g. 4 unmapped, 16 reverse strand, 256 secondary"),
        ("mappingQuality", INT, "MAPQ; 255: not available"),
        ("cigar", TEXT, "CIGAR, one of more than 65,535 operations included; null for `*`"),
        ("mateContigName", TEXT, "RNEXT, `=` written out; null for `*`"),
        ("mateStart", LONG, "first aligned base of the mate, 0-based: PNEXT - 1; null for 0"),
        ("templateLength", INT, "TLEN as in the file; 0: not available"),
        ("sequence", TEXT, "SEQ as in the file, on the forward strand; null for `*`"),
        ("quality", TEXT, "QUAL, a character a base, Phred+33; null for `*`"),
        ("attributes", MapType(TEXT, TEXT), "tags, `NM` -> `i:0`: type and value as in SAM text"),
    ),
    cluster_by=("contigName", "start"),
    statistics=("contigName", "start", "end", "sourceId"),
)

INGESTS = Table(
    "ingests",
    "an input file, with the outcome of its last ingestion: the ledger",
    ("sourceId",),
    columns(
        _SOURCE,
        ("uri", TEXT, "where the file is"),
        ("kind", TEXT, "variants, traits, reads or alignments"),
        _COHORT,
        ("size", LONG, "bytes"),
        ("modified", DOUBLE, "modification time, seconds since 1970"),
        ("etag", TEXT, "version mark: of S3 the etag, of local files inode and time of its change"),
        ("checksum", TEXT, "sha256 of the file's bytes, hex; null where switched off or failed"),
        ("status", TEXT, "stored or failed"),
        ("reason", TEXT, "why it failed; null if stored"),
        ("recordsIn", LONG, "data lines in the file (with regions: those inside them)"),
        ("recordsStored", LONG, "lines of this file now in the table"),
        ("recordsRejected", LONG, "lines of this file now in rejects"),
        ("options", TEXT, "fingerprint of the options; others ingest the file again"),
        ("genomeBuild", TEXT, "reference genome, from the header or the option"),
        ("softwareVersion", TEXT, "geneai-spark's version"),
        ("tableVersion", LONG, "version of the table that holds the rows"),
        ("finishedAt", TIME, "when"),
    ),
)

RUNS = Table(
    "runs",
    "a run of a job, succeeded or failed",
    ("runId",),
    columns(
        ("runId", TEXT, "random id"),
        ("job", TEXT, "name of the job"),
        ("status", TEXT, "succeeded or failed"),
        ("startedAt", TIME, "when it began"),
        ("seconds", DOUBLE, "wall time"),
        ("config", TEXT, "settings as JSON, without secrets"),
        ("metrics", TEXT, "the job's numbers as JSON"),
        ("error", TEXT, "class of the error; null if succeeded"),
        ("message", TEXT, "the error's message; null if succeeded or not one of ours"),
        ("tablesRead", MapType(TEXT, LONG), "table -> version read; -1: it was not there"),
        ("tablesWritten", MapType(TEXT, LONG), "table -> version written"),
        ("softwareVersion", TEXT, "geneai-spark's version"),
    ),
)

_VARIANT = (_CONTIG, _START, _END, _SOURCE, _COHORT, ("names", TEXTS, "ID, split at `;`"), _REF)


def _summary(name: str, what: str) -> list[tuple[str, DataType, str]]:
    """Four columns that sum a number up over the genotypes that have it; null where none has."""
    return [
        (f"{name}Mean", DOUBLE, f"mean of {what}; null where no genotype has it"),
        (f"{name}Stdev", DOUBLE, f"standard deviation of {what}, of the population"),
        (f"{name}Min", DOUBLE, f"least {what}"),
        (f"{name}Max", DOUBLE, f"greatest {what}"),
    ]


VARIANT_QUALITY = Table(
    "variant_quality",
    "quality metrics of a variant; flags, drops nothing",
    ("cohort", "contigName", "start", "referenceAllele", "alternateAlleles", "sourceId"),
    columns(
        *_VARIANT,
        _ALTS,
        ("samplesCalled", INT, "samples with a complete genotype"),
        ("callRate", DOUBLE, "samplesCalled / samples, 0..1"),
        ("alleleNumber", INT, "called alleles (AN)"),
        ("alleleCounts", INTS, "count of each allele, REF first"),
        ("alleleFrequencies", DOUBLES, "alleleCounts / alleleNumber; null if none"),
        ("homozygousReferences", INT, "samples called with REF only; haploid ones too"),
        ("heterozygotes", INT, "samples with two different alleles"),
        ("homozygousAlternates", INT, "samples called with one ALT only; haploid ones too"),
        ("heterozygosity", DOUBLE, "heterozygotes / samplesCalled; null if none"),
        ("expectedHeterozygosity", DOUBLE, "1 - sum of squared alleleFrequencies; null if none"),
        ("hwePValues", DOUBLES, "Hardy-Weinberg exact test of each ALT against all else, diploids"),
        ("hweMidPValues", DOUBLES, "the same with the mid-p correction"),
        *_summary("depth", "DP"),
        *_summary("genotypeQuality", "GQ"),
        (
            "missingCases",
            INT,
            "cases lacking a complete genotype; null without cases named",
        ),
        ("missingControls", INT, "controls without a complete genotype"),
        ("missingnessPValue", DOUBLE, "Fisher's exact test of missingness, cases against controls"),
        _FLAGS,
    ),
    cluster_by=("contigName", "start"),
    statistics=("contigName", "start", "end", "sourceId"),
)

SAMPLE_QUALITY = Table(
    "sample_quality",
    "quality metrics of a sample; flags, drops nothing",
    ("cohort", "sampleIndex"),
    columns(
        _COHORT,
        _SAMPLE_INDEX,
        _SAMPLE,
        ("variants", LONG, "variants looked at"),
        ("variantsCalled", LONG, "variants with a complete genotype"),
        ("callRate", DOUBLE, "variantsCalled / variants, 0..1"),
        ("homozygousReferences", LONG, "variants called with REF only; haploid ones too"),
        ("heterozygotes", LONG, "variants with two different alleles"),
        ("homozygousAlternates", LONG, "variants called with one ALT only; haploid ones too"),
        ("hetHomRatio", DOUBLE, "heterozygotes / homozygousAlternates; null if none"),
        ("autosomalVariants", LONG, "bi-allelic autosomal variants that vary, with a call here"),
        ("homozygotes", LONG, "homozygous calls among autosomalVariants"),
        ("expectedHomozygotes", DOUBLE, "expected among autosomalVariants from frequencies"),
        ("inbreedingCoefficient", DOUBLE, "F = (O - E) / (N - E) of homozygotes, as plink --het"),
        ("transitions", LONG, "A-G and C-T substitutions carried"),
        ("transversions", LONG, "other single-base substitutions carried"),
        ("tiTvRatio", DOUBLE, "transitions / transversions; null if none"),
        ("indels", LONG, "insertions and deletions carried"),
        ("singletons", LONG, "variants at which no other sample carries an ALT allele"),
        *_summary("depth", "DP"),
        *_summary("genotypeQuality", "GQ"),
        ("xVariants", LONG, "bi-allelic varying variants of X outside PAR, with a call here"),
        ("xInbreedingCoefficient", DOUBLE, "F over xVariants: about 1 in males, 0 in females"),
        ("yCallRate", DOUBLE, "share of Y variants outside PAR with a call; null without such"),
        ("inferredSex", TEXT, "male, female, or null where X and Y do not tell"),
        _FLAGS,
    ),
)

QUALITY_SUMS = Table(
    "quality_sums",
    "what check_quality has measured of a cohort: the next run adds what is new to it",
    ("cohort",),
    columns(
        _COHORT,
        ("settings", TEXT, "JSON of what the figures depend on; with others all is measured anew"),
        ("variantsVersion", LONG, "version of `variants` up to which they are measured"),
        ("qualityVersion", LONG, "version of `variant_quality` that holds them"),
        ("tally", MapType(TEXT, LONG), "variants, those that passed, failures of each check"),
        ("samples", INT, "samples of the cohort"),
        ("counts", BINARY, "counts of each sample: (rows of sample_kernels, samples), int64"),
        (
            "values",
            MapType(TEXT, BINARY),
            "of DP and GQ: count, sum, squares, least, greatest: (5, samples), float64",
        ),
    ),
)


READ_QUALITY = Table(
    "read_quality",
    "quality of the reads of a file, of each mate, as FastQC defines it; flags, drops nothing",
    ("sourceId", "mate"),
    columns(
        _SOURCE,
        ("mate", INT, "1 or 2 of a pair, 0 for single reads"),
        ("cohort", TEXT, "name of the set of samples that the reads belong to"),
        ("sampleId", TEXT, "the sample, as told or by the file's name; may identify: protect"),
        ("reads", LONG, "reads"),
        ("bases", LONG, "their bases"),
        ("minLength", LONG, "bases of the shortest read"),
        ("maxLength", LONG, "bases of the longest read"),
        ("lengths", LONGS, "lengths that occur, ascending; above 1,000 rounded down to hundreds"),
        ("lengthCounts", LONGS, "reads of each of `lengths`"),
        ("gcContent", DOUBLE, "share of G and C among A, C, G, T; null without any"),
        ("positionReads", LONGS, "by position in the read, the first 1,000: reads that reach it"),
        ("qualityMean", DOUBLES, "by position: mean quality (Phred)"),
        ("quality10", INTS, "by position: 10th percentile of quality"),
        ("quality25", INTS, "by position: lower quartile of quality"),
        ("quality50", INTS, "by position: median of quality"),
        ("quality75", INTS, "by position: upper quartile of quality"),
        ("quality90", INTS, "by position: 90th percentile of quality"),
        ("readQualityCounts", LONGS, "reads by their mean quality, rounded down: 0, 1, ... 93"),
        ("contentA", DOUBLES, "by position: share of A among A, C, G, T; 0 without any"),
        ("contentC", DOUBLES, "by position: share of C among A, C, G, T"),
        ("contentG", DOUBLES, "by position: share of G among A, C, G, T"),
        ("contentT", DOUBLES, "by position: share of T among A, C, G, T"),
        ("contentN", DOUBLES, "by position: share of N (or `.`) among all bases"),
        ("gcCounts", DOUBLES, "reads by percent of G and C: 0, 1, ... 100; spread as FastQC does"),
        ("gcDeviation", DOUBLE, "sum of differences to a normal distribution, by reads; or null"),
        *(
            (f"{name}Content", DOUBLES, f"by position: share of reads in which {what} has begun")
            for name, what in (
                ("illuminaUniversal", "Illumina's universal adapter"),
                ("smallRna3", "Illumina's 3' adapter of small RNA"),
                ("smallRna5", "Illumina's 5' adapter of small RNA"),
                ("nextera", "Nextera's transposase sequence"),
                ("polyA", "a run of 12 A"),
                ("polyG", "a run of 12 G"),
            )
        ),
        ("duplicationLevels", DOUBLES, "share of reads whose sequence occurs 1, 2, ... 9, >= 10, "
         "> 50, > 100, > 500, > 1k, > 5k, > 10k times"),
        ("deduplicatedShare", DOUBLE, "share of reads that would stay without duplicates"),
        ("overrepresentedSequences", TEXTS, "beginnings of more than 0.1 % of the reads"),
        ("overrepresentedCounts", LONGS, "reads that begin so"),
        ("warnings", TEXTS, "names of the checks that FastQC would warn of"),
        _FLAGS,
    ),
)  # fmt: skip

PCA_SCORES = Table(
    "features_pca_scores",
    "a sample's principal components",
    ("cohort", "sampleIndex"),
    columns(
        _COHORT,
        _SAMPLE_INDEX,
        _SAMPLE,
        ("scores", DOUBLES, "coordinates on the components, the first explains most"),
        ("fitted", BooleanType(), "whether the sample took part in the fit; else projected"),
    ),
)

PCA_LOADINGS = Table(
    "features_pca_loadings",
    "a variant's part in the principal components: what projects new samples",
    ("cohort", "contigName", "start", "referenceAllele", "alternateAllele"),
    columns(
        *_VARIANT,
        ("alternateAllele", TEXT, "the allele whose dosage is meant"),
        ("mean", DOUBLE, "dosage subtracted: the fitted samples' mean, also put for missing"),
        ("scale", DOUBLE, "standard deviation divided by: sqrt(2 p (1 - p))"),
        ("loadings", DOUBLES, "the variant's entry of each unit right singular vector"),
    ),
    cluster_by=("contigName", "start"),
    statistics=("contigName", "start", "end"),
)

PCA_COMPONENTS = Table(
    "features_pca_components",
    "a principal component",
    ("cohort", "component"),
    columns(
        _COHORT,
        ("component", INT, "number, from 1"),
        ("singularValue", DOUBLE, "of the standardised dosages (samples, variants)"),
        ("eigenvalue", DOUBLE, "variance of the scores: singularValue^2 / (samples - 1)"),
        ("explainedVarianceRatio", DOUBLE, "share of the total variance"),
        ("variants", LONG, "variants that took part"),
        ("samples", INT, "samples that took part"),
    ),
)

PRUNED_VARIANTS = Table(
    "features_pruned_variants",
    "a variant that pruning by linkage disequilibrium has kept",
    ("cohort", "contigName", "start", "referenceAllele", "alternateAlleles", "sourceId"),
    columns(*_VARIANT, _ALTS),
    cluster_by=("contigName", "start"),
    statistics=("contigName", "start", "end", "sourceId"),
)

KINSHIP = Table(
    "features_kinship",
    "a pair of samples that are related, or the same person",
    ("cohort", "sampleIndex1", "sampleIndex2"),
    columns(
        _COHORT,
        ("sampleIndex1", INT, "the lower position in the packed vectors"),
        ("sampleIndex2", INT, "the higher position"),
        ("sampleId1", TEXT, "identifies a person: protect"),
        ("sampleId2", TEXT, "identifies a person: protect"),
        ("variants", LONG, "variants called in both"),
        ("ibs0", DOUBLE, "share of these with opposite homozygotes"),
        ("kinship", DOUBLE, "KING-robust coefficient: 0.5 the same person, 0.25 first degree"),
        ("relationship", TEXT, "duplicate, first, second or third (degree)"),
    ),
)

KMERS = Table(
    "features_kmers",
    "a canonical k-mer that occurs in a sample's reads",
    ("cohort", "sampleId", "kmer"),
    columns(
        _COHORT,
        ("sampleId", TEXT, "the sample of the reads; may identify: protect"),
        ("k", INT, "bases of the k-mer"),
        ("kmer", TEXT, "the lesser of the k-mer and its reverse complement"),
        ("count", LONG, "how often it occurs, on either strand"),
    ),
    statistics=("cohort", "sampleId", "kmer"),
)

KMER_SKETCHES = Table(
    "features_kmer_sketches",
    "a sample's k-mers as a FracMinHash sketch, as sourmash makes it: samples compare by it",
    ("cohort", "sampleId"),
    columns(
        _COHORT,
        ("sampleId", TEXT, "the sample of the reads; may identify: protect"),
        ("k", INT, "bases of a k-mer"),
        ("scaled", INT, "one k-mer of so many is kept: hashes up to 2^64 / scaled"),
        ("hashes", LONGS, "MurmurHash3 (seed 42) of the canonical k-mers kept, ascending"),
        ("abundances", LONGS, "how often each occurs"),
    ),
    statistics=("cohort", "sampleId"),
)

ASSOCIATIONS = Table(
    "associations",
    "a test of one ALT allele against one trait",
    ("cohort", "trait", "test", "contigName", "start", "referenceAllele", "alternateAllele"),
    columns(
        _CONTIG,
        _START,
        _END,
        _COHORT,
        ("names", TEXTS, "ID, split at `;`"),
        _REF,
        ("alternateAllele", TEXT, "the tested allele; effects are per copy of it"),
        ("trait", TEXT, "the trait tested"),
        ("test", TEXT, "linear, logistic, ..."),
        ("effect", DOUBLE, "change of the trait per copy of the allele (log odds if logistic)"),
        ("standardError", DOUBLE, "of the effect"),
        ("statistic", DOUBLE, "the test's statistic: t, z or chi-squared"),
        ("pValue", DOUBLE, "two-sided"),
        ("sampleCount", INT, "samples with trait, covariates and genotype"),
        ("alleleFrequency", DOUBLE, "of the tested allele in these samples"),
    ),
    cluster_by=("contigName", "start"),
    statistics=("contigName", "start", "trait", "pValue"),
)

IMPORTANCES = Table(
    "variant_importances",
    "a variant that a model looks at, with what it adds to telling cases from controls",
    ("cohort", "trait", "model", "contigName", "start", "referenceAllele", "alternateAllele"),
    columns(
        _CONTIG,
        _START,
        _COHORT,
        _SOURCE,
        _REF,
        ("alternateAllele", TEXT, "the ALT allele"),
        ("trait", TEXT, "the trait predicted"),
        ("model", TEXT, "name of the model"),
        ("version", INT, "of the model"),
        ("importance", DOUBLE, "what its splits explain of samples a tree was not grown on"),
        ("splits", INT, "nodes that it parts, in all trees"),
        ("pValue", DOUBLE, "share of variants as important by permuted labels; null: not asked"),
        ("falseDiscoveryRate", DOUBLE, "expected share of chance among those as important"),
        ("rank", INT, "by importance, from 1"),
        ("locus", INT, "the locus it belongs to, by rank of its lead, from 1; null: none"),
        ("isLead", BOOL, "whether it is the most important variant of its locus"),
    ),
    cluster_by=("contigName", "start"),
    statistics=("contigName", "start", "trait", "rank"),
)

EXAMPLES = Table(
    "examples",
    "a sample as a network sees it; of the latest training of a model",
    ("cohort", "model", "sampleIndex"),
    columns(
        _COHORT,
        ("model", TEXT, "name of the model"),
        ("sampleIndex", INT, "position among the chosen samples, from 0"),
        ("split", TEXT, "train, validation, test; null: the trait is not known"),
        ("label", DOUBLE, "the trait; of two classes 1 and 0"),
        (
            "doses",
            BINARY,
            "two planes of little-endian 64-bit words, a bit a variant of the model's inputs.tsv: "
            "00 two REF, 10 het, 01 two ALT, 11 missing",
        ),
        ("covariates", BINARY, "little-endian float32, standardised; 0 where missing"),
    ),
    statistics=("cohort", "model"),
)

PREDICTIONS = Table(
    "predictions",
    "a sample's score by a version of a model",
    ("cohort", "sampleId", "model", "version"),
    columns(
        _COHORT,
        _SAMPLE,
        ("trait", TEXT, "the trait predicted"),
        ("model", TEXT, "name of the model"),
        ("version", INT, "of the model"),
        ("split", TEXT, "train (by parts not fitted on it), validation, test; null: new to it"),
        ("score", DOUBLE, "probability of being a case, 0..1; of a number, what is predicted"),
        ("predicted", INT, "1: case, at a probability of 0.5; else 0; null for a number"),
        ("missingVariants", DOUBLE, "share of the model's variants that the sample lacks, 0..1"),
    ),
    statistics=("cohort", "sampleId"),
)

EVALUATIONS = Table(
    "evaluations",
    "a measurement of a family of models on a trait: by evaluate_model",
    ("cohort", "trait", "family", "kind", "part", "metric"),
    columns(
        _COHORT,
        ("trait", TEXT, "the trait predicted"),
        ("family", TEXT, "the family of models, or what it was called in the comparison"),
        (
            "kind",
            TEXT,
            "fold, pooled (all folds' held-out scores), group (of these), learning, null (permuted "
            "labels), chance (mean of null), compare (difference to another family)",
        ),
        (
            "part",
            TEXT,
            "fold: its number, from 1; group: its name; learning: share of the training samples; "
            "null: seed of the permutation; compare: the other family; else all",
        ),
        ("trainSamples", INT, "samples trained on; pooled, group: the mean of the folds'"),
        ("samples", INT, "samples measured: none was trained on"),
        ("cases", INT, "cases among them; null for a trait that is a number"),
        ("metric", TEXT, "roc_auc, pr_auc, accuracy, brier; of a number r2, pearson_r, rmse"),
        ("value", DOUBLE, "of the metric; compare: family minus the other family"),
        ("low", DOUBLE, "lower end of the 95 % interval; null: it has none"),
        ("high", DOUBLE, "upper end of the 95 % interval"),
        (
            "pValue",
            DOUBLE,
            "chance: (1 + permutations that reach the value of all training samples) / (1 + "
            "permutations); else null",
        ),
        (
            "flags",
            TEXTS,
            "chance: leak, if the interval of the mean lies above what chance is; null: skill, if "
            "its own interval does; empty: nothing is wrong",
        ),
    ),
    statistics=("cohort", "trait", "family", "kind"),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        VARIANTS,
        SAMPLES,
        VCF_HEADERS,
        TRAITS,
        REJECTS,
        READS,
        ALIGNMENTS,
        INGESTS,
        RUNS,
        VARIANT_QUALITY,
        SAMPLE_QUALITY,
        QUALITY_SUMS,
        READ_QUALITY,
        PCA_SCORES,
        PCA_LOADINGS,
        PCA_COMPONENTS,
        PRUNED_VARIANTS,
        KINSHIP,
        KMERS,
        KMER_SKETCHES,
        ASSOCIATIONS,
        IMPORTANCES,
        EXAMPLES,
        PREDICTIONS,
        EVALUATIONS,
    )
}
