import re
from bisect import bisect
from dataclasses import replace

import pytest

from adamantine.errors import UsageError
from adamantine.report.paths_page import FRAMES, paths_page
from tracing import adam, sgd, traced

STEPS = 30


@pytest.fixture(scope="module")
def traces():
    entrants = adam(lr=0.3), sgd(lr=0.003)
    return [traced(name, *entrants, steps=STEPS) for name in ("rosenbrock", "saddle")]


@pytest.fixture
def show(browser, traces, tmp_path):
    """Open the page; what it complains of, or loads besides itself, fails the test."""
    problems, contexts = [], []

    def opened(motion="reduce", **options):
        file = tmp_path / "page.html"
        file.write_text(paths_page(traces), encoding="utf-8")
        context = browser.new_context(reduced_motion=motion, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: request.url == file.as_uri() or problems.append(request.url),
        )
        page.goto(file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


def points(page, contestant, kind="path"):
    line = page.locator(f"#rosenbrock [data-contestant='{contestant}'] .{kind}")
    return line.get_attribute("points").split()


def told(page):
    return page.locator("#told").inner_text()


def slide(page, step):
    page.locator("#step").fill(str(step))


def test_the_slider_moves_every_path(show, traces):
    page = show()
    assert told(page) == f"step {STEPS} of {STEPS}"
    whole = points(page, 0)
    assert len(whole) == len(points(page, 0, "curve")) == STEPS + 1
    slide(page, 7)
    assert told(page) == f"step 7 of {STEPS}"
    assert points(page, 0) == whole[:8]
    assert len(points(page, 1, "curve")) == 8
    head = page.locator("#rosenbrock [data-contestant='0'] .path + .head")
    assert f"{head.get_attribute('cx')},{head.get_attribute('cy')}" == whole[7]
    cell = page.locator("#rosenbrock tr[data-contestant='0'] .value")
    assert cell.inner_text() == f"{traces[0].paths[0].values[7]:.3g}"
    slide(page, 0)
    assert points(page, 1) == whole[:1]  # both begin at the same place


def test_points_are_where_the_map_has_them(show, traces):
    left, right, bottom, top = traces[0].view
    found = [tuple(map(float, point.split(","))) for point in points(show(), 1)]
    for (x, y), (across, down) in zip(traces[0].paths[1].points, found, strict=True):
        assert left + (right - left) * across / 480 == pytest.approx(x, abs=0.01)
        assert top - (top - bottom) * down / 360 == pytest.approx(y, abs=0.01)


def test_the_ground_has_the_colour_of_its_height(show, traces):
    trace = traces[0]
    rows, columns = len(trace.landscape), len(trace.landscape[0])
    bands = [[bisect(trace.levels, value) for value in row] for row in trace.landscape]

    def is_inside(row, column):  # of a band: lines of contours pass between the points around
        around = (bands[row + i][column + j] for i in (-1, 0, 1) for j in (-1, 0, 1))
        return len(set(around)) == 1

    places = ((row, column) for row in range(1, rows - 1, 3) for column in range(1, columns - 1, 4))
    spots = [place for place in places if is_inside(*place)]
    pixels = [[480 * c / (columns - 1), 360 * (1 - r / (rows - 1))] for r, c in spots]
    found = show().evaluate(
        """(pixels) => {
          const bands = [...document.querySelectorAll("#rosenbrock .band")];
          const hits = ([x, y]) => bands.filter((band) => band.isPointInFill(new DOMPoint(x, y)));
          const height = (band) => parseFloat(band.style.getPropertyValue("--height"));
          return pixels.map((pixel) => hits(pixel).map(height));
        }""",
        pixels,
    )
    below = [bands[row][column] for row, column in spots]
    assert len(set(below)) > 6
    assert found == [[round(100 * level / len(trace.levels))] for level in below]


def test_a_contestant_can_be_taken_away_everywhere(show):
    page = show()
    lines = page.locator("svg [data-contestant='1'], tr[data-contestant='1']")
    assert [line.is_visible() for line in lines.all()] == [True] * 6
    page.get_by_label("sgd").uncheck()
    assert [line.is_visible() for line in lines.all()] == [False] * 6
    assert page.locator("#saddle tr[data-contestant='0']").is_visible()
    page.get_by_label("sgd").check()
    assert [line.is_visible() for line in lines.all()] == [True] * 6


def test_it_plays_by_itself_and_stops_at_the_end(show):
    page = show(motion="no-preference")
    assert page.locator("#play").inner_text() == "Pause"
    page.locator("#speed").select_option("4")
    page.wait_for_function("() => document.getElementById('step').value > 2")
    page.locator("#play").click()
    held = told(page)
    page.wait_for_timeout(100)
    assert told(page) == held != f"step {STEPS} of {STEPS}"
    slide(page, STEPS - 1)
    page.locator("#play").click()
    page.wait_for_function(f"() => document.getElementById('step').value == {STEPS}")
    page.wait_for_function("() => document.getElementById('play').textContent === 'Play'")


def test_it_holds_still_where_motion_is_unwanted(show):
    page = show(motion="reduce")
    page.wait_for_timeout(100)
    assert page.locator("#play").inner_text() == "Play"
    assert told(page) == f"step {STEPS} of {STEPS}"
    page.locator("#play").click()  # asked for, it moves, from the start
    page.wait_for_function(f"() => document.getElementById('step').value < {STEPS // 2}")


def test_keys(show):
    page = show()
    page.keyboard.press("Home")
    assert told(page).startswith("step 0 ")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert told(page).startswith("step 2 ")
    page.keyboard.press("Space")
    assert page.locator("#play").inner_text() == "Pause"
    page.keyboard.press("Space")
    page.keyboard.press("End")
    assert told(page) == f"step {STEPS} of {STEPS}"
    page.locator("#step").focus()  # the slider's own keys, not twice
    page.keyboard.press("ArrowLeft")
    assert told(page).startswith(f"step {STEPS - 1} ")


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(show, width):
    page = show(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_javascript_it_shows_the_whole_paths(show):
    page = show(java_script_enabled=False)
    assert len(points(page, 0)) == STEPS + 1
    assert not page.locator("#controls").is_visible()


def test_names_are_only_text(traces):
    name = "<b>&\"'"
    odd = replace(traces[0], paths=(replace(traces[0].paths[0], name=name),))
    page = paths_page([odd])
    assert "<b>" not in page
    assert "Paths of &lt;b&gt;&amp;&quot;&#x27; on Rosenbrock" in page


def test_a_long_path_is_thinned_to_what_can_be_drawn():
    (path,) = re.findall(
        r'class="path solid" points="([^"]*)"',
        paths_page([traced("rosenbrock", sgd(lr=1e-4), steps=2 * FRAMES + 1)]),
    )
    assert 600 < len(path.split()) <= FRAMES + 1


def test_equal_traces_give_equal_pages_and_none_gives_none(traces):
    assert paths_page(traces) == paths_page(traces)
    with pytest.raises(UsageError, match="no paths"):
        paths_page([])
