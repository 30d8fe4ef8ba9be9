"""The library of retag_worklist.py and tag_watch.py."""
