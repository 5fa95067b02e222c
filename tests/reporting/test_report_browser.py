"""The report in a real browser: hostile text runs nothing and asks nobody."""

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image
from report_answers import answer, check

from attending.reporting import write

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")


@pytest.fixture
def listener():
    """A server that notes every request that reaches it."""
    hits = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_POST = do_HEAD = do_OPTIONS = do_GET  # noqa: N815 - the library's names

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", hits
    server.shutdown()
    thread.join()
    server.server_close()


def loaded(path, profile):
    """The page's document after it has loaded and had two seconds to misbehave."""
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=2000",
        f"--user-data-dir={profile}",
    )
    run = subprocess.run([BROWSER, *options, "--dump-dom", path.as_uri()], capture_output=True, timeout=120, check=True)
    return run.stdout.decode()


def hostile(url):
    mark = "document.documentElement.setAttribute('data-ran', '1')"
    return [
        f"<script>{mark};fetch('{url}/script')</script>",
        f'"\'><img src={url}/img onerror="{mark}"><svg onload="{mark}">',
        f"![x]({url}/markdown) [y](javascript:{mark})",
        f"</style><link rel=stylesheet href={url}/css><style>@import '{url}/import'; b {{ background: url({url}/b) }}",
        f"</title><meta http-equiv=refresh content='0;url={url}/refresh'><iframe src={url}/frame></iframe>",
        f'<base href={url}/><form action={url}/form><input autofocus onfocus="{mark}">',
        f"\u202e<video src={url}/video autoplay></video>\x00<object data={url}/object>",
    ]


def attacked(url):
    """An answer with all of it in every kind of place."""
    text = "\n".join(hostile(url))
    return answer(text=f"{text} It measures 45 mm.", question=text, model=text, warnings=hostile(url), status=text,
                  versions={text: text}, checks=[check(detail=text, expert=text), check(text)])  # fmt: skip


def test_hostile_text_runs_no_script_and_sends_no_request(tmp_path, listener):
    url, hits = listener
    write(attacked(url), tmp_path / "out")
    dom = loaded(tmp_path / "out" / "report.html", tmp_path / "profile")
    assert "It measures 45 mm." in dom
    assert "data-ran" not in dom.split(">", 2)[1]
    assert hits == []


def test_the_policy_alone_would_stop_it(tmp_path, listener):
    """Were a value ever written without escaping, nothing of it could act."""
    url, hits = listener
    write(answer(text="HERE"), tmp_path)
    page = tmp_path / "report.html"
    attacks = [text for text in hostile(url) if "refresh" not in text]  # a policy cannot forbid leaving the page
    page.write_text(page.read_text().replace("HERE", "".join(attacks), 1))
    dom = loaded(page, tmp_path / "profile")
    assert f"{url}/frame" not in dom
    assert "data-ran" not in dom.split(">", 2)[1]
    assert hits == []


def test_without_the_policy_the_same_attack_is_seen(tmp_path, listener):
    """That the two tests above can fail."""
    url, hits = listener
    (tmp_path / "bare.html").write_text("<!DOCTYPE html><html><body>" + "".join(hostile(url)[:2]))
    dom = loaded(tmp_path / "bare.html", tmp_path / "profile")
    assert "data-ran" in dom.split(">", 2)[1]
    assert {"/script", "/img"} <= set(hits)


def test_the_style_sheet_is_accepted_and_pictures_are_shown(tmp_path):
    write(answer(), tmp_path / "out")
    shot = tmp_path / "shot.png"
    options = ("--enable-logging=stderr", "--window-size=800,1200", f"--user-data-dir={tmp_path / 'profile'}")
    page = (tmp_path / "out" / "report.html").as_uri()
    run = subprocess.run(
        [BROWSER, *OPTIONS, *options, f"--screenshot={shot}", page], capture_output=True, timeout=120, check=True
    )
    assert b"Content Security Policy" not in run.stderr, "nothing of the page itself is refused"
    with Image.open(shot) as image:
        colors = {color: count for count, color in image.convert("RGB").getcolors(1 << 24)}
    assert colors.get((0, 0, 0), 0) > 5_000, "the black ground of the pictures"
    assert (11, 92, 138) in colors or (124, 196, 236) in colors, "the style sheet's own colour"
