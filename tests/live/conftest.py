"""Assertions in the helpers tell as much as those in the tests."""

import pytest

pytest.register_assert_rewrite("lab")
