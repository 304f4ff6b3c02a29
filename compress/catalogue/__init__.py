"""The catalogue of a bundle: vector index, product rows, postings, suggestions. The encoder is elsewhere."""
