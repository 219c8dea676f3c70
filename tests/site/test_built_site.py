"""The site that `make docs` built: every public name has its place, and in headless Chromium no page scrolls
sideways or complains."""

import functools
import http.server
import os
import sys
import threading
from pathlib import Path

import pytest

from tests.chromium import chromium_in

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "site"))

import public  # noqa: E402

SCROLLS = """
const wide = document.scrollingElement.scrollWidth - window.innerWidth;
if (wide <= 0) return null;
const beyond = (e) => e.getBoundingClientRect().right > window.innerWidth + 1;
const out = [...document.querySelectorAll('main *')].filter(beyond);
const line = (e) => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 60);
return wide + ' px: ' + out.slice(0, 3).map(line).join(' | ');
"""


@pytest.fixture(scope="module")
def site():
    folder = os.environ.get("SURGEON_SITE")
    if not folder:
        pytest.skip("`make docs` builds the site, and then runs this")
    return Path(folder).resolve()


def pages(site):
    return sorted(p.parent.relative_to(site).as_posix() for p in site.rglob("index.html"))


@pytest.fixture(scope="module")
def served(site):
    """The address at which the site's folder is served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with chromium_in(tmp_path_factory.mktemp("chromium"), "docs", logs=("browser",)) as started:
        yield started


def test_every_public_name_has_its_place_in_the_reference(site):
    missing = []
    for package in public.DOCUMENTED:
        html = (site / "reference" / package / "index.html").read_text(encoding="utf-8")
        missing += [f"{package}.{n}" for n in public.names(package) if f'id="{package}.{n}"' not in html]
    assert not missing


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_scrolls_sideways_or_complains(site, served, chromium, width):
    found = pages(site)
    assert len(found) > 30
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wrong = []
    for page in found:
        chromium.get_log("browser")
        chromium.get(f"{served}/{page}/" if page != "." else f"{served}/")
        said = chromium.execute_script(SCROLLS)
        if said:
            wrong.append(f"{page} is too wide by {said}")
        wrong += [
            f"{page}: {e['message'][:200]}" for e in chromium.get_log("browser") if e["level"] == "SEVERE"
        ]
    assert not wrong, "\n".join(wrong)


def test_the_walk_of_a_network_is_drawn(site, served, chromium):
    from selenium.webdriver.support.ui import WebDriverWait

    if not (site / "site" / "mermaid.min.js").is_file():
        pytest.skip("the site was built without npm, so that its diagrams need a public server")
    chromium.get(f"{served}/architecture/")
    drawn = (
        "const e = document.querySelector('div.mermaid'); return e && (e.shadowRoot || e) !== "
        "null && e.clientHeight"
    )
    assert WebDriverWait(chromium, 30).until(lambda d: d.execute_script(drawn)) > 200
