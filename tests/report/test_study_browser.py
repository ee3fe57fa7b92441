"""The page as a browser draws it: Chromium without a window, loaded once a way of looking."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from study_fixture import NAMES, study

from adamantine.records import Finding
from adamantine.report.study import study_html

PARTS = ["final", "score-time", "score-state", "loss", "validation", "times", "rates"]
LONG = "adamw:weight_decay=0.1,state_dtype=int8"
HARMFUL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(study_html(study(4, names=("adam", "sgd", LONG, HARMFUL))), encoding="utf-8")
    return file.as_uri()


def opened(browser, address, **how):
    """The page once it is drawn; `page.said` collects what the browser complains of."""
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **how})
    page.said, page.loaded = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: page.loaded.append(request.url))
    page.goto(address)
    page.wait_for_selector("html[data-drawn]", state="attached")
    return page


@pytest.fixture(scope="module")
def desktop(browser, address):
    page = opened(browser, address)
    yield page
    page.close()


@pytest.fixture
def page(desktop):
    """The page with its controls as they were."""
    yield desktop
    desktop.evaluate("""() => {
        const form = document.querySelector('.controls');
        const isTouched = [...form.elements].some((one) => one.checked !== one.defaultChecked);
        form.reset();
        if (isTouched) form.dispatchEvent(new Event('change'));
    }""")
    desktop.emulate_media(media="screen", color_scheme="light")
    settle(desktop)


def settle(page):
    """Wait until Plotly has drawn what was asked of it."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")


def shown(page, contestant):
    """By chart, how many of the contestant's traces are visible."""
    return page.evaluate(
        """(contestant) => Object.fromEntries(
            [...document.querySelectorAll('.chart')].map((box) => [
                box.id, box.data.filter((trace, place) =>
                    trace.meta.contestant === contestant && box._fullData[place].visible === true
                ).length]))""",
        contestant,
    )


def names(page, chart):
    """What is written at the ends of the chart's lines."""
    return page.locator(f"#{chart}-chart .annotation").all_text_contents()


def scale(page, name):
    return page.evaluate("(id) => document.getElementById(id)._fullLayout.yaxis.type", name)


def test_every_chart_is_drawn(page):
    for name in PARTS:
        box = page.locator(f"#{name}-chart svg.main-svg").first.bounding_box()
        assert box["width"] > 400
        assert box["height"] >= 200
        assert page.locator(f"#{name}-chart .scatterlayer .trace").count() >= 4


def test_the_browser_has_nothing_to_complain_of_and_loads_nothing_else(page, address):
    page.check("#log")
    settle(page)
    assert page.said == []
    assert page.loaded == [address]


def test_a_contestant_is_hidden_and_shown_everywhere(page):
    before = shown(page, 1)
    assert set(before) == {f"{name}-chart" for name in PARTS}
    assert min(before.values()) > 0
    assert any("sgd" in name for name in names(page, "loss"))
    drawn = page.locator("#loss-chart .scatterlayer .trace").count()
    page.uncheck("[data-contestant='1']")
    settle(page)
    assert set(shown(page, 1).values()) == {0}
    assert min(shown(page, 0).values()) > 0
    assert page.locator("#loss-chart .scatterlayer .trace").count() < drawn
    assert not any("sgd" in name for name in names(page, "loss"))
    page.check("[data-contestant='1']")
    settle(page)
    assert shown(page, 1) == before


BELOW = """() => [...document.querySelectorAll('.chart')].flatMap((chart) => {
    const bar = chart.querySelector('.modebar').getBoundingClientRect();
    const heading = document.createRange();
    heading.selectNodeContents(chart.parentElement.querySelector('h3'));
    const things = [...chart.querySelectorAll('.annotation, .xtick, .ytick, .nsewdrag'), heading];
    return things.map((thing) => thing.getBoundingClientRect()).filter((box) =>
        box.width && box.right > bar.left && box.left < bar.right
        && box.bottom > bar.top && box.top < bar.bottom).map(() => chart.id);
})"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_buttons_of_a_chart_lie_over_nothing_and_can_be_reached(browser, address, width):
    page = opened(browser, address, viewport={"width": width, "height": 900})
    assert page.evaluate(BELOW) == []
    page.hover("#validation-chart")
    page.hover("#validation-chart .modebar-btn")
    page.wait_for_function(
        "getComputedStyle(document.querySelector('#validation-chart .modebar')).opacity === '1'"
    )
    page.close()


def test_the_keyboard_does_it_too(page):
    page.locator("[data-contestant='0']").focus()
    page.keyboard.press("Space")
    settle(page)
    assert set(shown(page, 0).values()) == {0}
    page.keyboard.press("Tab")
    focused = page.evaluate("() => document.activeElement.dataset.contestant")
    assert focused == "1"


def test_all_may_be_hidden(page):
    for index in range(4):
        page.uncheck(f"[data-contestant='{index}']")
    settle(page)
    assert page.said == []


def test_the_log_switch_changes_the_loss_and_nothing_that_may_be_zero(page):
    assert scale(page, "loss-chart") == "linear"
    page.check("#log")
    settle(page)
    assert scale(page, "loss-chart") == "log"
    assert scale(page, "validation-chart") == "linear"
    page.uncheck("#log")
    settle(page)
    assert scale(page, "loss-chart") == "linear"


@pytest.mark.parametrize("name", ["loss", "validation", "times"])
def test_time_can_be_read_in_seconds(page, name):
    def end_and_title():
        return page.evaluate(
            """(id) => { const box = document.getElementById(id);
            if (box._fullData.some((trace) => trace.x.length !== trace.y.length)) return null;
            return [Math.max(...box._fullData.flatMap((trace) => trace.x)),
                    box._fullLayout.xaxis.title.text]; }""",
            f"{name}-chart",
        )

    assert end_and_title() == [5, "epochs"]
    page.check("[value=steps]")
    settle(page)
    assert end_and_title() == [450, "steps"]
    page.check("[value=seconds]")
    settle(page)
    end, title = end_and_title()
    assert title == "seconds"
    assert 0.4 < end < 0.8


def test_what_is_hovered_over_is_told_in_the_unit(page):
    page.check("[value=steps]")
    settle(page)
    page.locator("#loss-chart").scroll_into_view_if_needed()
    point = page.locator("#loss-chart .scatterlayer .trace path.point").last.bounding_box()
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    said = page.locator("#loss-chart .hovertext").first
    said.wait_for()
    assert re.search(r"after \d+ steps$", said.text_content())
    page.mouse.move(0, 0)


def test_names_stand_at_the_ends_of_lines_and_are_not_read_as_html(page):
    words = " ".join(names(page, "validation"))
    assert "adam" in words
    assert "<img" in words
    assert page.locator("img").count() == 0


def test_names_keep_their_distance_and_stay_in_the_picture(page):
    boxes = [each.bounding_box() for each in page.locator("#times-chart .annotation").all()]
    frame = page.locator("#times-chart").bounding_box()
    boxes.sort(key=lambda box: box["y"])
    assert len(boxes) == 4
    for above, below in pairwise(boxes):
        assert above["y"] + above["height"] <= below["y"] + 4
    for box in boxes:
        assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1


def test_dark_mode_and_print_change_the_page_and_its_charts(page):
    def colours():
        return page.evaluate("""() => {
            const of = (name, what) => getComputedStyle(document.querySelector(name))[what];
            return [of('body', 'backgroundColor'), of('#loss-chart .ytick text', 'fill')]; }""")

    light = colours()
    assert light[0] == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    dark = colours()
    assert dark[0] == "rgb(20, 23, 26)"
    assert dark[1] != light[1]
    assert page.locator(".controls").is_visible()
    page.emulate_media(color_scheme="dark", media="print")
    assert colours() == light
    assert not page.locator(".controls .units").is_visible()
    assert not page.locator(".controls input").first.is_visible()  # what is left is the legend


def test_paper_has_charts_of_its_width(page):
    page.emulate_media(media="print")
    page.evaluate("() => { window.dispatchEvent(new Event('beforeprint')); }")
    settle(page)
    widths = [page.locator(f"#{name}-chart .main-svg").first.bounding_box()["width"]
              for name in PARTS]  # fmt: skip
    assert sorted(widths) == pytest.approx([338] * 6 + [700], abs=1)
    page.emulate_media(media="screen")
    page.evaluate("() => { window.dispatchEvent(new Event('afterprint')); }")
    settle(page)
    assert page.locator("#final-chart .main-svg").first.bounding_box()["width"] > 1000


def talkative(study):
    """The same with a verdict as long as eight contestants make it."""
    names = ", ".join(one.name for one in study.contestants)
    values = ", ".join(f"{one.name} 96.5% [95.7, 97.3]" for one in study.contestants)
    said = (
        ("decision", f"Use whichever is cheapest, Adam(lr=0.1): between {names} no difference in "),
        *[("final", f"Final accuracy on the test set: {values}.")] * 3,
        *[("final", f"No difference between {names} could be shown with 5 seeds (a difference ")]
        * 3,
        *[("speed", f"{names} are faster than sgd.")] * 2,
    )
    rest = "accuracy under 6.2 points would often not be seen; 6 seeds would show the 3.1 seen)."
    verdict = [Finding(about, text if text.endswith(".") else text + rest) for about, text in said]
    return replace(study, verdict=tuple(verdict))


@pytest.mark.parametrize("contestants", [2, 4, 8])
def test_it_prints_on_two_pages(browser, contestants, tmp_path):
    file = tmp_path / "report.html"
    found = study(contestants, names=(LONG, *NAMES)[:contestants])
    found = talkative(found) if contestants == 8 else found
    file.write_text(study_html(found), encoding="utf-8")
    page = opened(browser, file.as_uri())
    for paper in ("A4", "Letter"):
        printed = page.pdf(format=paper)
        assert printed.startswith(b"%PDF-")
        assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 2
    assert page.said == []
    page.close()


def test_the_first_screen_has_the_decision_the_score_and_the_curves(browser, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(study_html(study(3)), encoding="utf-8")
    page = opened(browser, file.as_uri())
    above = 0
    for name in (".verdict p", "#final-chart .nsewdrag", "#validation-chart .nsewdrag"):
        box = page.locator(name).first.bounding_box()
        assert above <= box["y"]
        assert box["y"] + box["height"] <= 900
        above = page.locator(".verdict p").first.bounding_box()["y"]
    page.close()


@pytest.fixture(scope="module")
def phone(browser, address):
    page = opened(browser, address, viewport={"width": 390, "height": 844}, has_touch=True,
                  color_scheme="dark")  # fmt: skip
    yield page
    page.close()


def test_a_phone_need_not_scroll_sideways(phone):
    wide = "() => document.documentElement.scrollWidth"
    assert phone.evaluate(wide) == 390
    for fold in phone.locator("summary").all():
        fold.click()
    assert phone.evaluate(wide) == 390
    for name in PARTS:
        box = phone.locator(f"#{name}-chart .main-svg").first.bounding_box()
        assert box["width"] <= 390 - 2 * 16
    assert phone.said == []


def test_a_turned_phone_draws_the_charts_anew(phone):
    phone.set_viewport_size({"width": 844, "height": 390})
    phone.wait_for_function(
        "() => document.getElementById('final-chart')._fullLayout.width > 700", timeout=5000
    )
    phone.set_viewport_size({"width": 390, "height": 844})
    phone.wait_for_function(
        "() => document.getElementById('final-chart')._fullLayout.width < 390", timeout=5000
    )
