"""The page in a real browser: headless Chromium, offline, from a file."""

import csv
import io
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reporting_runs import EVIL, awkward_run, small_run
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from gahb_bench.reporting.report import merged, write, write_report

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


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Two families, three runs, evil names, and a denoiser that one run alone has."""
    parts = [tmp_path_factory.mktemp(name) for name in ("one", "two", "three")]
    small_run(parts[0], ("calpha:size=16", "calpha:alpha=1,size=16"), ("mmse", "identity"))
    small_run(parts[1], ("calpha:alpha=1,size=16",), ("wavelet",))
    awkward_run(parts[2], EVIL)
    folder = tmp_path_factory.mktemp("together")
    write(merged(parts), folder)
    return folder / "report.html"


def show(browser, path: Path, width: int = 1280, scheme: str = "light", all_charts: bool = True):
    """Open a page anew, and wait until its charts are drawn, those that are far from the window too."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get("about:blank")
    browser.get(path.as_uri())
    WebDriverWait(browser, 20).until(lambda driver: driver.execute_script("return typeof Plotly === 'object'"))
    if not all_charts:
        return
    browser.execute_script("families.forEach(drawSection)")
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


@pytest.mark.parametrize("which", ["plain", "hostile", "together"])
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
@pytest.mark.parametrize("which", ["hostile", "together"])
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
    mean = headings[3].find_element(By.TAG_NAME, "button")
    mean.click()
    assert headings[3].get_attribute("aria-sort") == "ascending"
    values = [float(value) for value in column(3)]
    assert values == sorted(values)
    press(browser, mean, Keys.ENTER)
    assert headings[3].get_attribute("aria-sort") == "descending"
    assert [float(value) for value in column(3)] == values[::-1]
    headings[0].find_element(By.TAG_NAME, "button").click()
    assert headings[3].get_attribute("aria-sort") is None
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


def test_charts_are_drawn_when_they_come_near(browser, together):
    show(browser, together, all_charts=False)
    drawn = "return [...document.querySelectorAll('section.family')].map((s) => Boolean(s.querySelector('.main-svg')))"
    assert browser.execute_script(drawn)[1] is False
    link = select(browser, ".matrix tbody tr:nth-child(2) td a")
    assert link.get_attribute("href").endswith("#family-2")
    press(browser, link, Keys.ENTER)
    WebDriverWait(browser, 20).until(lambda driver: driver.execute_script(drawn)[1])
    assert browser.execute_script("return document.querySelector('#family-2').getBoundingClientRect().top") < 100


def test_the_matrix_can_be_read_by_its_headings_and_sorts(browser, together):
    show(browser, together, all_charts=False)
    table = select(browser, "table.matrix")
    assert {th.get_attribute("scope") for th in table.find_elements(By.CSS_SELECTOR, "tbody th")} == {"row"}
    columns = [th.text.splitlines()[0] for th in table.find_elements(By.CSS_SELECTOR, "thead th[scope=col]")]
    column = columns.index("identity")
    cells = table.find_elements(By.CSS_SELECTOR, f"tbody td:nth-child({column + 1})")
    values = [float(cell.get_attribute("data-value")) for cell in cells]
    assert [float(cell.text.splitlines()[0]) for cell in cells] == pytest.approx(values, abs=0.006)
    for _ in range(2):
        table.find_elements(By.CSS_SELECTOR, "thead button")[column].click()
    rows = table.find_elements(By.CSS_SELECTOR, f"tbody td:nth-child({column + 1})")
    assert [float(cell.get_attribute("data-value")) for cell in rows] == sorted(values, reverse=True)


POINT = """
    const div = document.querySelector("#family-1 [data-chart=main]");
    div.scrollIntoView({ block: "center" });
    const [layout, box] = [div._fullLayout, div.getBoundingClientRect()];
    const trace = div.data.find((t) => t.meta === arguments[0]);
    const [x, y] = [layout.xaxis, layout.yaxis];
    return [box.x + x._offset + x.d2p(trace.x[2]), box.y + y._offset + y.d2p(trace.y[2])].map(Math.round);
"""


def test_a_point_chooses_its_noise_level_and_its_method(browser, plain):
    show(browser, plain)
    noisy = select(browser, "#family-1 [data-picture=noisy]").get_attribute("src")
    x, y = browser.execute_script(POINT, 3)  # wavelet at the largest noise level
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        event = {"type": kind, "x": x, "y": y, "button": "none" if kind == "mouseMoved" else "left", "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)
        time.sleep(0.15)  # plotly looks where the pointer is at most every tenth of a second
    assert select(browser, "#family-1 .level-name").text.startswith("σ = 1")
    assert select(browser, "#family-1 [data-picture=noisy]").get_attribute("src") != noisy
    assert select(browser, "#family-1 [data-images-of]").text == "wavelet at σ = 1"
    assert chart(browser, "main", "div.layout.shapes[0].x0") == 1


def test_the_images_that_lose_most(browser, plain):
    show(browser, plain)
    choice = select(browser, "#family-1 select.method")
    press(browser, choice, Keys.HOME)
    press(browser, select(browser, "#family-1 input.level"), Keys.HOME)
    assert select(browser, "#family-1 [data-images-of]").text == "ideal at σ = 0.01"
    rows = browser.find_elements(By.CSS_SELECTOR, "#family-1 .worst tbody tr")
    scores = pd.read_parquet(plain.parent / "scores.parquet").query("family == 'calpha:size=16' and sigma == 0.01")
    table = scores.pivot(index="image", columns="denoiser", values="mse")
    expected = (10 * np.log10(table["ideal"] / table["mmse"])).nlargest(3)
    assert [int(row.find_element(By.TAG_NAME, "th").text) for row in rows] == expected.index.tolist()
    said = [float(row.find_element(By.TAG_NAME, "td").text.replace("−", "-")) for row in rows]
    assert said == pytest.approx(expected.tolist(), abs=0.011)
    assert all(row.find_element(By.TAG_NAME, "img").get_attribute("src").startswith("data:image/png") for row in rows)


def test_what_can_be_taken_away(browser, together):
    show(browser, together)
    rows = list(csv.DictReader(io.StringIO(browser.execute_script("return csv(page.families[0])"))))
    assert {row["denoiser"] for row in rows} >= {"mmse", "identity", "../x", "a\\nb|`c`", "NA"}
    labels = browser.execute_script("return page.families[0].methods.map((m) => m.label)")
    assert [row["denoiser"] for row in rows][: 3 * len(labels) : 3] == labels
    assert browser.execute_script("return field('=1+1')") == '"\'=1+1"'
    picture = "families[0].picture().then(arguments[0], (error) => arguments[0](String(error)))"
    assert browser.execute_async_script(picture).startswith("data:image/png;base64,iVBOR")
    details = select(browser, "#family-2 .command").find_element(By.XPATH, "./ancestor::details")
    browser.execute_script("arguments[0].open = true", details)
    press(browser, details.find_element(By.CSS_SELECTOR, "button.copy"), Keys.ENTER)
    said = details.find_element(By.CSS_SELECTOR, "button.copy")
    WebDriverWait(browser, 5).until(lambda _: said.text != "copy")
    assert browser.get_log("browser") == []
