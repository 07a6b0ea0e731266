"""The page in a real browser: drop, answer, CSV, mistakes, phone, dark, keyboard; nothing leaves the machine."""

import csv
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from helpers.command_line import exit_status
from helpers.tiny_data import encode, noise, png

pytest.importorskip("gradio", reason="it needs the extra app of the package")
browsers = pytest.importorskip("playwright.sync_api", reason="it needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]


@pytest.fixture(scope="module")
def page(checkpoint, data, tmp_path_factory):
    """The address of a page in a process of its own, and the folder for that process's temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    settings = [checkpoint, f"data.root={data}", f"data.cache_dir={tmp_path_factory.mktemp('cache')}"]
    command = [sys.executable, "-m", "deepfake_lit", "app", *settings]
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if found := re.search(r"open (http\S+)", line):
                break
        else:
            pytest.fail("the page did not start")
        yield found[1], folder
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not list(folder.glob("deepfake-lit-*"))


@pytest.fixture(scope="module")
def browser():
    with browsers.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(browser, page):
    """A tab with the page, which must ask for nothing that is elsewhere and have no errors."""
    asked, errors = [], []
    tab = browser.new_page(viewport={"width": 1000, "height": 900})
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(page[0])
    tab.wait_for_selector(DROP, state="attached")
    yield tab
    tab.close()
    assert [url for url in asked if not url.startswith((page[0], "data:", "blob:"))] == []
    assert errors == []


DROP = "#drop input[type=file]"


def dropped(**files: bytes) -> list[dict]:
    return [
        {"name": name.replace("_", "."), "mimeType": "image/png", "buffer": content} for name, content in files.items()
    ]


def test_an_image_gets_an_answer(tab, page):
    tab.set_input_files(DROP, dropped(a_png=encode(noise(1))))
    tab.wait_for_selector("#shown h2")
    assert re.fullmatch(r"class [012], [\d.]+ %", tab.inner_text("#shown h2"))
    assert "What this does not say" in tab.inner_text("#shown")
    pictures = tab.locator("#shown img")
    assert pictures.count() == 2 + 4 + 4
    assert pictures.evaluate_all("all => all.every(each => each.complete && each.naturalWidth == 16)")
    assert not [f for f in page[1].rglob("*") if f.is_file() and f.stat().st_size], "uploads are not deleted"


def test_of_several_images_there_are_a_table_and_a_csv_and_a_choice(tab, tmp_path):
    tab.set_input_files(DROP, dropped(a_png=encode(noise(1)), no_png=b"text", b_jpg=encode(noise(2), format="JPEG")))
    tab.wait_for_selector("#answers table")
    assert "no.png: none of PNG" in tab.inner_text("#answers .problems")
    assert tab.locator("#answers tr").count() == 3
    with tab.expect_download() as saved:
        tab.click("#answers a.csv")
    assert saved.value.suggested_filename == "answers.csv"
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text())))
    assert [row["file"] for row in rows] == ["a.png", "b.jpg", "no.png"]
    assert rows[1]["format"] == "JPEG"
    tab.click("#choice input")
    tab.click("text=2. b.jpg >> nth=-1")
    tab.wait_for_selector("#shown p:has-text('b.jpg')")
    assert "JPEG file, quality 75." in tab.inner_text("#shown")


def test_a_hundred_and_more(tab):
    images = [{"name": f"{i}.png", "mimeType": "image/png", "buffer": encode(noise(i))} for i in range(103)]
    tab.set_input_files(DROP, images)
    tab.wait_for_selector("#answers table")
    assert tab.locator("#answers tr").count() == 101
    assert "at most 100 images" in tab.inner_text("#answers .problems")


def test_bad_input_is_a_message(tab):
    bad = dropped(bomb_png=png(8, b"", 9000), empty_png=b"", gif_gif=encode(noise(1), noise(2), format="GIF"))
    tab.set_input_files(DROP, bad)
    tab.wait_for_selector("#shown h2")
    problems = tab.inner_text("#answers .problems")
    assert "9000 x 9000 pixels, more than 67 million" in problems
    assert "the file is empty" in problems
    assert "It has 2 frames" in tab.inner_text("#shown")


def test_a_phone_in_the_dark(browser, page):
    phone = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    phone.goto(page[0])
    phone.wait_for_selector(DROP, state="attached")
    phone.set_input_files(DROP, dropped(a_png=encode(noise(1)), **{"a" * 80 + "_png": encode(noise(2))}))
    phone.wait_for_selector("#answers table")
    phone.wait_for_selector("#shown h2")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    light = phone.evaluate("getComputedStyle(document.querySelector('#shown h2')).color.match(/\\d+/g).map(Number)")
    dark = phone.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert min(light[:3]) > 180
    assert max(dark[:3]) < 60
    phone.close()


def test_the_keyboard_is_enough(tab):
    tab.wait_for_selector("text=knows 3 classes")
    choosers = []
    tab.on("filechooser", lambda chooser: choosers.append(chooser))
    for _ in range(20):  # a busy machine's page listens late
        tab.keyboard.press("Tab")
        if tab.evaluate("document.querySelector('#drop').contains(document.activeElement)"):
            tab.keyboard.press("Enter")
            tab.wait_for_timeout(1000)
        if choosers:
            break
    choosers[0].set_files(dropped(a_png=encode(noise(1)), b_png=encode(noise(2))))
    tab.wait_for_selector("#answers table")
    tab.focus("#choice input")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#shown p:has-text('b.png')")


def test_another_site_and_a_huge_body_are_refused(page):
    def status(path: str, data: bytes | None = None, **headers: str) -> int:
        request = urllib.request.Request(page[0] + path, data, {k.replace("_", "-"): v for k, v in headers.items()})
        try:
            return urllib.request.urlopen(request, timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code

    assert status("") == 200
    assert status("", Host="evil.example") == 400
    assert status("gradio_api/upload", b"x", Content_Length=str(2**40)) == 413


def test_a_taken_port_and_a_damaged_checkpoint_are_told(page, data, tmp_path, capsys):
    port = page[0].rstrip("/").rpartition(":")[2]
    (tmp_path / "text.ckpt").write_text("weights, honestly")
    assert exit_status(["app", str(tmp_path / "text.ckpt"), f"port={port}"]) == 2
    assert f"port {port} of 127.0.0.1 cannot be had" in capsys.readouterr().err
    assert exit_status(["app", str(tmp_path / "text.ckpt")]) == 2
    assert "is not a readable checkpoint" in capsys.readouterr().err.replace("\n", " ")


def test_an_answer_comes_within_a_second(tab):
    """With other work beside it, the machine of a test may take longer; the page itself takes a third of a second."""
    tab.set_input_files(DROP, dropped(a_png=encode(noise(1))))
    tab.wait_for_selector("#shown h2")
    start = time.monotonic()
    tab.set_input_files(DROP, dropped(c_png=encode(noise(3))))
    tab.wait_for_selector("#shown p:has-text('c.png')")
    assert time.monotonic() - start < 5
