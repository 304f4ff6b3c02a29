"""The report of a build and its model card. What is measured lies in `compress/measure`."""
