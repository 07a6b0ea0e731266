"""The page on which one drops images: on this machine, without telemetry, and without a connection to elsewhere.

Gradio writes uploads to a folder. It is private to the user, each file in it is deleted as soon as it is read, and the
folder when the page ends.
"""

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from deepfake_lit.core.console import out, warn
from deepfake_lit.core.errors import UserError
from deepfake_lit.settings.commands import AppConfig

LOCAL = ("127.0.0.1", "localhost", "::1")
MB = 2**20
SILENT = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
TITLE = "Which generator made this image?"
WIDE = ".gradio-container { max-width: 60rem !important; margin: 0 auto !important; }"


def serve(checkpoint: str, cfg: AppConfig) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Raises:
        UserError: Gradio is not installed, the port is taken, or the checkpoint cannot be read.
    """
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with tempfile.TemporaryDirectory(prefix="deepfake-lit-", ignore_cleanup_errors=True) as folder:  # mode 0700
            os.environ |= SILENT | {"GRADIO_TEMP_DIR": folder}
            _serve(checkpoint, cfg)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _serve(checkpoint: str, cfg: AppConfig) -> None:
    try:
        import gradio
    except ImportError:
        raise UserError("gradio is not installed; install deepfake-lit[app]") from None
    explainer: Future[Any] = Future()
    page = _page(gradio, explainer.result)
    try:
        url = _launch(gradio, page, cfg)
        out.print(f"open {url} in a browser; Ctrl-C ends it", markup=False)
        explainer.set_result(_explainer(checkpoint, cfg))  # while the browser opens the page
        threading.Event().wait()
    finally:
        explainer.cancel()
        page.close(verbose=False)


def _explainer(checkpoint: str, cfg: AppConfig) -> Any:
    from deepfake_lit.explain.explainer import Explainer  # with torch, it takes as long to import as Gradio

    return Explainer(checkpoint, cfg)


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


def _launch(gradio: Any, page: Any, cfg: AppConfig) -> str:
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from deepfake_lit.explain.guard import Guard
    from deepfake_lit.explain.html import style
    from deepfake_lit.explain.limits import LARGEST, TOTAL

    local = cfg.host in LOCAL
    if not local:
        warn(f"host={cfg.host}: whoever reaches this machine can use the page, and what they send is not encrypted")
    hosts = list(LOCAL) if local else ["*"]  # another site's name that leads here is refused
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none from the network
    try:
        _, url, _ = page.launch(
            server_name=cfg.host,
            server_port=cfg.port,
            inbrowser=cfg.browser,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            max_file_size=LARGEST * MB,
            theme=gradio.themes.Base(**fonts),
            css=style() + WIDE,
            app_kwargs={
                "middleware": [
                    Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
                    Middleware(Guard, most=TOTAL * MB),
                ]
            },
        )
    except OSError:
        raise UserError(f"port {cfg.port} of {cfg.host} cannot be had; leave it out, or give port=ANOTHER") from None
    return url


def _page(gradio: Any, explainer: Callable[[], Any]) -> Any:
    """Build the page: a place to drop images, what is wrong with files, a table, and the answer for one image.

    Args:
        explainer: returns the `Explainer`, once it is loaded.
    """
    from deepfake_lit.explain.limits import LARGEST, MOST

    def show(session: Any, title: str | None) -> str:
        from deepfake_lit.explain.html import part

        if session is None or title not in session.titles:
            return ""
        row = session.titles.index(title)
        return part(explainer(), explainer().explain(session.images[row], session.answers, row))

    def drop(paths: list[str] | None):
        own = explainer()
        from deepfake_lit.explain.session import Session, table

        try:
            session = Session.of(own, [(Path(path).name, _taken(path)) for path in paths or []])
        except UserError as error:  # of the network
            raise gradio.Error(str(error), title="No answer") from None
        titles = session.titles
        first = titles[0] if titles else None
        choice = gradio.Dropdown(choices=titles, value=first, visible=len(titles) > 1)
        return None, session, table(own, session), choice, show(session, first)

    def head() -> str:
        own = explainer()
        from deepfake_lit.explain.html import render

        return render("head.html.j2", title=TITLE, net=own)

    with gradio.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, 600)) as page:
        page.load(head, None, gradio.HTML(f"<h1>{TITLE}</h1>"), api_visibility="private", show_progress="hidden")
        label = f"Drop images here: up to {MOST}, {LARGEST} MB each. They stay on this machine."
        files = gradio.File(file_count="multiple", label=label, elem_id="drop", height=170)
        session = gradio.State(None, time_to_live=3600)
        answers = gradio.HTML(elem_id="answers")
        choice = gradio.Dropdown(label="Show", choices=[], visible=False, interactive=True, elem_id="choice")
        shown = gradio.HTML(elem_id="shown")
        own = {"api_visibility": "private", "show_progress_on": [answers]}
        files.upload(drop, files, [files, session, answers, choice, shown], **own)
        choice.input(show, [session, choice], shown, api_visibility="private")
    return page


def _taken(path: str) -> bytes:
    """Read an upload and delete it."""
    content = Path(path).read_bytes()
    shutil.rmtree(Path(path).parent, ignore_errors=True)
    return content
