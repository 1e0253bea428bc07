"""Features of samples and variants, one module an extractor."""
