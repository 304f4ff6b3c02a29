"""Importers: public data sets as the publishers lay them out -> the tables of a shop."""
