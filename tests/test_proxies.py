"""Every source asks a site on this machine directly, whatever proxies the environment names."""

import pytest

from tests.test_api import harvest
from tests.test_apps import UNUSABLE_NETWORK
from tests.test_scraper import details_arguments, rows, run, write_urls

PROXIES = {name: value for name, value in UNUSABLE_NETWORK.items() if name != "SSL_CERT_FILE"}


@pytest.mark.parametrize("engine", ["selenium", "requests"])
def test_pages_of_this_machine_are_requested_without_a_proxy(engine, sample_site, tmp_path):
    """Nor does Selenium ask for its own driver through one."""
    write_urls(tmp_path, sample_site, [question for question in sample_site.questions if not question.deleted][:1])
    code, _, line = run("question_details_scraper", *details_arguments(tmp_path), "--engine", engine, **PROXIES)
    assert code == 0, line
    assert len(rows(tmp_path / "ques_details.csv")) == 1


def test_an_api_on_this_machine_is_called_without_a_proxy(sample_site, tmp_path):
    code, output, line = harvest(tmp_path, sample_site, **PROXIES)
    assert code == 0 and "59 questions" in output, line
