"""What one serving process is made of."""

import pytest

from dynamo_fe.cli.serve import file_cache
from dynamo_fe.config import Settings


def test_without_a_home_folder_it_serves_and_fetches_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """As a user whom no list of users knows, without HOME."""
    assert file_cache(Settings(cache_dir="~nobody-of-that-name/cache")) is None
    (record,) = caplog.records
    assert "DYN_FE_CACHE_DIR names another" in record.getMessage()
