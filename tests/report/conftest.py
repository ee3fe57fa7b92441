"""Shared by the tests of pages: the browser that draws them."""

import pytest

import needs


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window."""
    playwright = needs.module("playwright.sync_api", install=needs.PLAYWRIGHT)
    chromium = needs.program("chromium", "chromium-browser", install=needs.CHROMIUM)
    with (
        playwright.sync_playwright() as driver,
        driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as running,
    ):
        yield running
