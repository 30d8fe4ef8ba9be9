"""Fixtures that several test files share."""

import pytest

from data.sample_site.server import SampleSite


@pytest.fixture(scope="session")
def sample_site():
    """The sample site without faults, 60 questions on two listing pages, one of them deleted."""
    with SampleSite(n=60) as site:
        yield site
