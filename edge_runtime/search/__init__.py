"""From a query or a history to ranked rows: vectors, words, fusion, deadlines, the user's taste, explanations."""
