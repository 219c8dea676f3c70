"""The page in headless Chromium: opens from disk, sorts, tells its points, fits a phone, prints."""

import base64
import json

import pytest

from surgeon.report import report
from tests.chromium import chromium_in

LONG = "a_run_with_a_very_long_name_and_no_space_in_it_resnet50_kap_kernel_average_pooling_sigma_0.1"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A driver of Chromium with logs of the console and of the network."""
    with chromium_in(tmp_path_factory.mktemp("chromium"), "dev", logs=("browser", "performance")) as started:
        yield started


@pytest.fixture
def opened(chromium, pages, request):
    """opened(path=…): the page of all runs, or another, on a wide or a narrow screen, light or dark."""

    def go(path=None, width=1280, dark=False):
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for log in ("browser", "performance"):
            chromium.get_log(log)
        chromium.get((path or pages["all"]).as_uri())
        return chromium

    return go


def find(driver, selector):
    return driver.find_elements("css selector", selector)


def column(driver, table, number):
    """The values of a column, as the page sorts them."""
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0] + ' tbody tr')].map((row) => {"
        "const cell = row.cells[arguments[1]]; return cell.dataset.value ?? cell.textContent.trim(); });",
        table,
        number,
    )


def press(driver, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


@pytest.mark.parametrize("name", ["one", "bare", "refused", "all"])
def test_opens_from_disk_without_errors_or_requests(opened, pages, name):
    driver = opened(pages[name])
    assert driver.title.startswith("Robustness of ")
    assert driver.get_log("browser") == []
    events = [json.loads(e["message"])["message"] for e in driver.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert pages[name].as_uri() in asked
    assert not [u for u in asked if u != pages[name].as_uri() and not u.startswith("data:")]
    assert all(
        driver.execute_script("return [...document.images].map((i) => i.complete && i.naturalWidth > 0)")
    )
    assert len(find(driver, "svg.chart")) == len(find(driver, ".plot"))


def test_a_click_sorts_up_then_down(opened):
    driver = opened()
    heads = find(driver, "#compare table th[scope=col]")
    heads[1].find_element("css selector", "button").click()
    up = column(driver, "#compare table", 1)
    assert [h.get_attribute("aria-sort") for h in heads[:3]] == [None, "ascending", None]
    heads[1].find_element("css selector", "button").click()
    assert heads[1].get_attribute("aria-sort") == "descending"
    down = column(driver, "#compare table", 1)
    values = [float(v) for v in up[:4]]
    assert values == sorted(values) and [float(v) for v in down[:4]] == values[::-1] and len(set(values)) > 1
    heads[0].find_element("css selector", "button").click()
    assert [h.get_attribute("aria-sort") for h in heads[:2]] == ["ascending", None]
    assert column(driver, "#compare table", 0)[:4] == sorted(("stock", "kap", "defective", "rounded"))


def test_enter_sorts_and_numbers_are_no_texts(opened):
    from selenium.webdriver import Keys

    driver = opened()
    driver.execute_script(
        "[...document.querySelectorAll('#attacks tbody')[0].rows].forEach((row, i) => {"
        "  if (row.cells[2].dataset.value) row.cells[2].dataset.value = [10, 9, 100, 0.5, 1e-7, -3][i]; });"
    )
    button = find(driver, "#attacks .sortable th button")[2]
    driver.execute_script("arguments[0].focus()", button)
    press(driver, Keys.ENTER)
    assert column(driver, "#attacks .sortable", 2)[:6] == ["-3", "1e-7", "0.5", "9", "10", "100"]
    transfer = find(driver, "#attacks .sortable th button")[1]  # only one run has a number for the transfer
    for _ in range(2):
        transfer.click()
        assert column(driver, "#attacks .sortable", 1)[-1] == "–", "empty cells stay last, up and down"


def test_pointing_at_a_mark_tells_its_numbers(opened, runs):
    from selenium.webdriver import ActionChains

    driver = opened()
    told = find(driver, "#told")[0]
    assert not told.is_displayed()
    curves = json.loads((runs["stock"] / "evaluation.json").read_text(encoding="utf-8"))["curves"]
    last = curves[0]["points"][-1]
    share = last["share"]
    expected = (
        f"stock, at {last['level']:g}: {100 * share['k'] / share['n']:.1f} % "
        f"[{100 * share['low']:.1f}–{100 * share['high']:.1f}], "
        f"{share['k']} of {share['n']} images"
    )
    (mark,) = [
        p for p in find(driver, "#noise svg:first-of-type .point") if p.get_attribute("data-told") == expected
    ][:1]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(driver).move_to_element(mark).perform()
    assert told.is_displayed() and told.text == expected
    ActionChains(driver).move_to_element(find(driver, "#noise h2")[0]).perform()
    assert not told.is_displayed()


def test_the_keyboard_reaches_the_points_and_escape_hides_them(opened):
    from selenium.webdriver import Keys

    driver = opened()
    active = lambda name: driver.switch_to.active_element.get_attribute(name)  # noqa: E731
    assert len(find(driver, ".point[tabindex='0']")) == len(find(driver, "svg.chart"))
    driver.execute_script(
        "document.querySelector('#noise').previousElementSibling.querySelector('.scroll').focus()"
    )
    press(driver, Keys.TAB)
    told = find(driver, "#told")[0]
    assert active("class") == "point" and told.is_displayed()
    assert told.text == active("data-told") == active("aria-label")
    first = told.text
    press(driver, Keys.ARROW_RIGHT)
    assert told.text == active("data-told") != first
    press(driver, Keys.ESCAPE)
    assert not told.is_displayed()
    press(driver, Keys.ARROW_LEFT)
    assert told.is_displayed() and told.text == first
    press(driver, Keys.TAB)
    assert not told.is_displayed() and active("class") != "point"


def test_the_skip_link_is_the_first_stop(opened):
    from selenium.webdriver import Keys

    driver = opened()
    press(driver, Keys.TAB)
    link = driver.switch_to.active_element
    assert link.text == "Skip to the verdict" and link.rect["x"] >= 0
    press(driver, Keys.ENTER)
    assert driver.switch_to.active_element.get_attribute("id") == "main"


def test_nothing_is_wider_than_the_screen(opened, copied, runs, tmp_path):
    many = [copied("stock", f"{LONG}_{k}") for k in range(3)]
    path = report([*many, runs["kap"], runs["rounded"], runs["defective"]], tmp_path / "six.html")
    for width in (360, 1280):
        driver = opened(path, width=width)
        driver.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        wide = driver.execute_script(
            "return [...document.querySelectorAll('h1, h2, h3, p, figure, svg, pre, .card, .legend, dl')]"
            ".filter((e) => e.getBoundingClientRect().right > arguments[0] + 1)"
            ".map((e) => e.outerHTML.slice(0, 80))",
            width,
        )
        assert wide == [], width


PROBE = """
const colour = (text) => text.match(/[\\d.]+/g).slice(0, 4).map(Number);
const ground = (node) => { for (; node; node = node.parentElement) {
  const found = colour(getComputedStyle(node).backgroundColor);
  if (found.length < 4 || found[3] > 0) return found.slice(0, 3); } return [255, 255, 255]; };
const found = {};
const lines = [0, 1, 2, 3, 4, 5].map((k) => `line-${k}`);
for (const [place, name] of [["main", "paper"], [".card", "card"], [".main td", "worst"]])
  for (const kind of ["", "good-text", "bad-text", "warn-text", "note", "small", "a", ...lines]) {
    const probe = document.createElement(kind === "a" ? "a" : "span");
    if (kind === "a") probe.href = "#"; else probe.className = kind;
    document.querySelector(place).append(probe);
    const ink = colour(getComputedStyle(probe).color).slice(0, 3);
    found[`${kind || "text"} on ${name}`] = [ink, ground(probe)];
    probe.remove();
  }
for (const tag of ["caption", "dt", "footer", "header p", "svg text", "#told"]) {
  const node = document.querySelector(tag), style = getComputedStyle(node);
  found[tag] = [colour(tag === "svg text" ? style.fill : style.color).slice(0, 3), ground(node)];
}
return found;
"""


def contrast(one, other):
    """WCAG 2's ratio of two colours."""

    def light(rgb):
        linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_colours_can_be_read_in_light_and_dark(opened, dark):
    driver = opened(dark=dark)
    found = driver.execute_script(PROBE)
    assert (sum(found["text on paper"][1]) < 200) == dark
    weak = {
        k: round(contrast(*v), 2)
        for k, v in found.items()
        if contrast(*v) < (3 if k.startswith("line") else 4.5)
    }
    assert weak == {} and len(found) == 45


def test_the_printer_gets_everything_on_white(opened):
    driver = opened(dark=True)
    folded = len(find(driver, "details:not([open])"))
    driver.execute_script(
        "window.addEventListener('beforeprint', () => {"
        " window.folded = document.querySelectorAll('details:not([open])').length;"
        " window.paper = getComputedStyle(document.body).backgroundColor; });"
    )
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert page.startswith(b"%PDF") and len(page) > 50_000
    assert folded > 5 and driver.execute_script("return window.folded") == 0
    assert len(find(driver, "details:not([open])")) == folded, "folded up again"
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    shown = driver.execute_script(
        "return [getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('nav')).display]"
    )
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert shown == ["rgb(255, 255, 255)", "none"]


def test_hostile_names_do_nothing(opened, copied, tmp_path):
    folder = copied("stock", "<img src=x onerror=alert(1)><script>alert(2)<'\"")
    driver = opened(report([folder], tmp_path / "page.html"))
    assert len(find(driver, "script")) == 1 and driver.get_log("browser") == []
    assert find(driver, "h1")[0].text == f"Robustness of {folder.name}"
    assert find(driver, ".point")[0].get_attribute("data-told").startswith(folder.name)
