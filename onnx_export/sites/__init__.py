"""The library of build_site.py and release.py: choices by the amount of data, stages, releases and the report."""
