"""The page in a real browser: headless Chromium, offline, from a file."""

import json
import shutil
from pathlib import Path

import pytest
from reporting_runs import EVIL, awkward_run, small_run
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from gahb_bench.reporting.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with chromedriver on this machine")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = small_run(tmp_path_factory.mktemp("plain"), ("calpha:size=16", "calpha:alpha=1,size=16"))
    write_report(folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = awkward_run(tmp_path_factory.mktemp("hostile"), (*EVIL, f"{'long' * 40}"))
    write_report(folder)
    return folder / "report.html"


def show(browser, path: Path, width: int = 1280, scheme: str = "light"):
    """Open a page anew, and wait until its last chart is drawn."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get("about:blank")
    browser.get(path.as_uri())
    drawn = "return [...document.querySelectorAll('.chart')].every((div) => div.querySelector('.main-svg'))"
    WebDriverWait(browser, 20).until(lambda driver: driver.execute_script(drawn))


def select(browser, css: str):
    return browser.find_element(By.CSS_SELECTOR, css)


def press(browser, element, *keys: str):
    browser.execute_script("arguments[0].focus({preventScroll: false})", element)
    browser.switch_to.active_element.send_keys(*keys)


def chart(browser, name: str, script: str):
    """Evaluate an expression of ``div``, the chart of this name of the first family."""
    return browser.execute_script(f"const div = document.querySelector('[data-chart={name}]'); return {script}")


@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_opens_offline_without_an_error_or_a_request(browser, which, request):
    path = request.getfixturevalue(which)
    show(browser, path)
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "DEBUG"] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert path.as_uri() in asked
    assert [url for url in asked if url != path.as_uri() and not url.startswith(("data:", "blob:"))] == []
    assert browser.execute_script("return window.harmed === undefined")
    assert browser.find_elements(By.CSS_SELECTOR, "td b, li b, img[onerror], footer i") == []


def test_the_policy_stops_foreign_scripts_and_requests(browser, plain):
    show(browser, plain)
    inject = """
        const script = document.createElement("script");
        script.textContent = "window.harmed = 1";
        document.body.append(script);
        const done = arguments[0];
        fetch("https://example.org/").then(() => done("sent"), (error) => done(error.name));
    """
    assert browser.execute_async_script(inject) == "TypeError"
    assert browser.execute_script("return window.harmed === undefined")
    said = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert "violates the following Content Security Policy directive" in said


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_no_sideways_scrolling(browser, which, width, request):
    show(browser, request.getfixturevalue(which), width)
    for details in browser.find_elements(By.TAG_NAME, "details"):
        browser.execute_script("arguments[0].open = true", details)
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(wide) == 0
    assert browser.execute_script("return document.documentElement.clientWidth") >= width - 20
    over = """return [...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll, svg, .skip")
        && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map((e) => e.outerHTML)"""
    assert browser.execute_script(over) == []


def test_the_switch(browser, plain):
    show(browser, plain)
    assert chart(browser, "main", "div._fullLayout.yaxis.title.text") == "MSE per pixel"
    assert chart(browser, "main", "div._fullLayout.yaxis.type") == "log"
    radios = browser.find_elements(By.NAME, "family-1-metric")
    radios[2].click()
    assert chart(browser, "main", "div._fullLayout.yaxis.title.text") == "regret, dB"
    assert chart(browser, "main", "div._fullLayout.yaxis.type") == "linear"
    assert select(browser, "[data-title=main]").text == "Regret"
    press(browser, radios[2], Keys.ARROW_LEFT)  # the keyboard moves between the choices
    assert chart(browser, "main", "div._fullLayout.yaxis.title.text") == "PSNR, dB"
    psnr = chart(browser, "main", "div.data.filter((t) => t.marker).map((t) => t.y)")
    mse = browser.execute_script("return page.families[0].methods.map((m) => m.mse)")
    assert psnr[0] == pytest.approx(
        browser.execute_script("return arguments[0].map((v) => -10 * Math.log10(v))", mse[0])
    )
    assert select(browser, "#family-2 [data-title=main]").text == "Mean squared error"


def test_the_legend_hides_and_shows(browser, plain):
    show(browser, plain)
    lines = "div.data.filter((trace) => trace.marker).length"
    before = [chart(browser, name, lines) for name in ("main", "regret", "exponent")]
    assert before == [4, 4, 4]
    button = select(browser, "button[data-curve=method-3]")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert [chart(browser, name, lines) for name in ("main", "regret", "exponent")] == [3, 3, 3]
    press(browser, button, Keys.SPACE)
    assert button.get_attribute("aria-pressed") == "true"
    assert [chart(browser, name, lines) for name in ("main", "regret", "exponent")] == [4, 4, 4]
    widths = "div.data.filter((trace) => trace.line.width === 3).length"
    assert chart(browser, "main", widths) == 1
    select(browser, "button[data-curve=reference]").click()
    assert chart(browser, "main", widths) == 0
    assert browser.get_log("browser") == []


def test_tables_sort(browser, plain):
    show(browser, plain)
    headings = browser.find_elements(By.CSS_SELECTOR, "#family-1 table.sortable:first-of-type thead th")
    table = headings[0].find_element(By.XPATH, "./ancestor::table")

    def column(number):
        rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
        return [row.find_elements(By.CSS_SELECTOR, "th, td")[number].get_attribute("data-value") for row in rows]

    before = column(0)
    mean = headings[2].find_element(By.TAG_NAME, "button")
    mean.click()
    assert headings[2].get_attribute("aria-sort") == "ascending"
    values = [float(value) for value in column(2)]
    assert values == sorted(values)
    press(browser, mean, Keys.ENTER)
    assert headings[2].get_attribute("aria-sort") == "descending"
    assert [float(value) for value in column(2)] == values[::-1]
    headings[0].find_element(By.TAG_NAME, "button").click()
    assert headings[2].get_attribute("aria-sort") is None
    assert column(0) == sorted(before)


def test_rows_without_a_value_sort_last(browser, hostile):
    show(browser, hostile)
    for times in (1, 2):
        headings = browser.find_elements(By.CSS_SELECTOR, "#family-1 table.sortable thead th")
        column = [heading.text.startswith("σ = 0.1") for heading in headings].index(True)
        headings[column].find_element(By.TAG_NAME, "button").click()
        last = select(browser, "#family-1 table.sortable tbody tr:last-child")
        assert "failed" in last.text, times


def test_the_gallery_follows_its_controls(browser, plain):
    show(browser, plain)
    first = select(browser, "#family-1 [data-method='2'] img").get_attribute("src")
    noisy = select(browser, "#family-1 [data-picture=noisy]").get_attribute("src")
    assert select(browser, "#family-1 .level-name").text.startswith("σ = 0.1")
    slider = select(browser, "#family-1 input.level")
    press(browser, slider, Keys.ARROW_RIGHT)
    assert select(browser, "#family-1 .level-name").text == "σ = 1 255σ = 255"
    assert slider.get_attribute("aria-valuetext") == "σ = 1"
    second = select(browser, "#family-1 [data-method='2'] img").get_attribute("src")
    assert second != first
    assert select(browser, "#family-1 [data-picture=noisy]").get_attribute("src") != noisy
    browser.find_elements(By.NAME, "family-1-image")[1].find_element(By.XPATH, "..").click()
    assert select(browser, "#family-1 [data-method='2'] img").get_attribute("src") not in (first, second)
    assert browser.get_log("browser") == []


def test_light_and_dark(browser, plain):
    colours = []
    for scheme in ("light", "dark"):
        show(browser, plain, scheme=scheme)
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        line = chart(browser, "main", "div.data.find((trace) => trace.marker).line.color")
        swatch = browser.execute_script(
            "return getComputedStyle(document.querySelector('[data-curve=method-0] .swatch')).color"
        )
        colours.append((paper, line, swatch))
    assert colours[0] == ("rgb(255, 255, 255)", "#111418", "rgb(17, 20, 24)")
    assert colours[1] == ("rgb(20, 23, 28)", "#f2f4f6", "rgb(242, 244, 246)")


def test_printing_is_light_and_opens_what_a_reader_needs(browser, plain):
    show(browser, plain, scheme="dark")
    browser.execute_script("document.querySelectorAll('details').forEach((details) => { details.open = false; })")
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    closed = "return [...document.querySelectorAll('details:not([open]) > summary')].map((s) => s.textContent)"
    assert set(browser.execute_script(closed)) == {"Every number of this family", "The plan, resolved"}
    assert chart(browser, "main", "div.data.find((trace) => trace.marker).line.color") == "#111418"
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert chart(browser, "main", "div.data.find((trace) => trace.marker).line.color") == "#f2f4f6"


def test_names_are_not_read_as_markup_by_the_charts(browser, hostile):
    show(browser, hostile)
    texts = chart(browser, "main", "div.data.filter((trace) => trace.marker).map((trace) => trace.text[0])")
    named = next(text for text in texts if "alert(1)" in text and "script" in text)
    assert named.startswith("<b>&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;</b><br>")
