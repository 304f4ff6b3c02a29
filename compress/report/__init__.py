"""The report of a build and its model card. The measurements are in `compress/measure`."""
