"""Serve the tagger as a Gradio app: a web page and an API (see README.md).

    python deployment/app.py --port 7860

The model is loaded from the folder model/ beside this file, or from the one given by TAGGER_MODEL or --model. If that
is the folder of a site, a release that is promoted takes the place of the one before while the app runs.
"""

import argparse
import os
import sys
import warnings
from collections import deque
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tagging.console import run_script
from tagging.explain import explain_tags
from tagging.html_text import question_text
from tagging.model_folder import ModelFolderError, add_model_folder_option
from tagging.options import port, script_parser
from tagging.served import ServedTagger
from tagging.settings import Settings
from tagging.stack_exchange import STACK_EXCHANGE
from tagging.tiers import SHOWN

MAX_BATCH = 64  # questions of one call of /predict_batch
MAX_QUEUE = 64  # calls in the queue; a further one is rejected at once
MAX_HISTORY = 10  # questions that the browser keeps
# Sessions that the server keeps, about 70 kB each; every call of the API opens one. The page needs none: its state
# is kept in the browser.
MAX_SESSIONS = 100
MAX_EVENTS = 500  # finished and waiting calls that gradio keeps; more than MAX_QUEUE
# Not gr.Warning: screen readers see its toast as a button within a button.
BLANK = '<p role="alert" class="doubt">Write a title or a description first, then ask for tags.</p>'
EMPTY = "<p>Your tags will appear here.</p>"

INTRODUCTION = """
# {title}
Write a question as you would ask it. Of the {tags} tags it knows, the model suggests the {tag_range} that fit best. It
was trained on questions of [{host}]({site}) (language: {language}).
"""

PRIVACY = "Nothing that you write is stored on the server. Your last questions are kept in this browser only."

STYLES = ["colours.css", "answer.css"]
CSS = """
/* Gradio chooses between light and dark by a class. */
body { color-scheme: light; }
body.dark { color-scheme: dark; }
.gradio-container > .main { max-width: 1080px !important; padding-inline: 1rem !important; }
footer, footer button { color: var(--body-text-color) !important; }
#intro h1 { margin-bottom: .2em; }
#intro a { color: var(--accent) !important; }
#answer .html-container { padding-top: 2.6rem; }  /* below the label, which floats */
#all-tags textarea { font-family: var(--font-mono); }
"""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument(
        "--port",
        type=port,
        default=os.environ.get("GRADIO_SERVER_PORT") or 7860,
        help="port to listen on; the environment variable GRADIO_SERVER_PORT sets another default",
    )
    add_model_folder_option(parser)
    return parser.parse_args(argv)


def check_text(tagger, title: Any, description: Any, which: str = "the question") -> tuple[str, str]:
    """Return title and description as ``tagger`` reads them.

    Raises
    ------
    gr.Error
        If a text is not a string or too long, or if both are blank; ``which`` is its name for the question.
    """
    import gradio as gr

    limits = tagger.settings.max_title, tagger.settings.max_description
    for name, text, max_length in zip(("title", "description"), (title, description), limits, strict=True):
        if not isinstance(text, str):
            raise gr.Error("title and description must be strings", print_exception=False)
        if len(text) > max_length:
            raise gr.Error(
                f"the {name} has {len(text)} characters; at most {max_length} are allowed", print_exception=False
            )
    texts = question_text(title, description, tagger.settings.max_length)
    if not any(text.strip() for text in texts):
        raise gr.Error(f"{which} is empty: give it a title or a description", print_exception=False)
    return texts


def add_api(served: ServedTagger) -> None:
    """Add the endpoints of the API. Their docstrings are shown as documentation under /?view=api."""
    import gradio as gr

    def predict(title: str = "", description: str = "") -> dict:
        """Suggest the tags of a question from its title, its description, or both.

        A title is plain text; a description is plain text or HTML.

        Returns {"suggested": [{"tag": ..., "probability": ...}, ...], "others": [...], "fits": bool}: the
        suggested tags and the next most probable ones, both by descending probability. Probabilities are calibrated.
        fits is false if no tag clearly fits. If the model folder has an index of the site's questions, the answer has a
        further field "similar": the nearest three, [{"url", "title", "tags", "similarity", "duplicate"}, ...].
        """
        tagger = served.now
        return tagger.answer(*check_text(tagger, title, description))

    def predict_batch(questions: list) -> list:
        """Suggest the tags of 1 to 64 questions, [{"title": ..., "description": ...}, ...], in the same order."""
        if not isinstance(questions, list) or not 1 <= len(questions) <= MAX_BATCH:
            raise gr.Error(f"questions must be a list of 1 to {MAX_BATCH} objects", print_exception=False)
        if not all(isinstance(question, dict) for question in questions):
            raise gr.Error("each question must be an object with title and description", print_exception=False)
        tagger = served.now
        texts = [
            check_text(tagger, question.get("title", ""), question.get("description", ""), f"question {number}")
            for number, question in enumerate(questions, start=1)
        ]
        return [tagger.answer(*text) for text in texts]

    def explain(title: str = "", description: str = "") -> dict:
        """Show which words led to which suggested tag.

        Returns {"title": [{"text": ..., "tag": ... or null, "weight": 0 to 1}, ...], "description": [...]}: the texts
        in pieces, each with the tag whose probability it raised most.
        """
        tagger = served.now
        return explain_tags(tagger, *check_text(tagger, title, description))

    def tags() -> list:
        """List the tags that the model knows, with the threshold of their probability."""
        tagger = served.now
        return [{"tag": tag, "threshold": tagger.rule.threshold} for tag in tagger.selection.names]

    for endpoint in (predict, predict_batch, explain):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_id="model", concurrency_limit=1)
    gr.api(tags, api_name="tags")


def make_handlers(served: ServedTagger) -> tuple:
    """Return the event handlers of the page: the one that shows an answer, and the one that explains it."""
    import gradio as gr
    from jinja2 import Environment, FileSystemLoader

    site = (os.environ.get("TAGGER_SITE") or served.now.settings.site).rstrip("/")
    render = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True).get_template("answer.html")

    def tag_url(tag: str) -> str:
        return STACK_EXCHANGE.tag_url(site, tag)

    def show(title: str, description: str, history: list | None) -> tuple:
        """Return the answer as HTML, its tags to tick, those to copy, an empty explanation, and the new history."""
        if not title.strip() and not description.strip():
            return BLANK, no_boxes(), "", "", history
        tagger = served.now
        answer = tagger.answer(*check_text(tagger, title, description))
        others = [question for question in history or [] if question != [title, description]]
        tags = [row["tag"] for row in [*answer["suggested"], *answer["others"]]]
        ticked = [row["tag"] for row in answer["suggested"] if row.get("tier") != SHOWN]  # all, without tiers
        html = str(render.module.tags(answer, tag_url))  # type: ignore[attr-defined]
        boxes = gr.CheckboxGroup(tags, value=ticked, visible=True)
        return html, boxes, " ".join(ticked), "", [[title, description], *others][:MAX_HISTORY]

    def show_words(title: str, description: str) -> str:
        if not title.strip() and not description.strip():
            return BLANK
        tagger = served.now
        words = explain_tags(tagger, *check_text(tagger, title, description))
        return str(render.module.words(words))  # type: ignore[attr-defined]

    return show, show_words


def no_boxes():
    """Return the boxes of a page without an answer."""
    import gradio as gr

    return gr.CheckboxGroup([], value=[], visible=False)


def introduction(tagger) -> str:
    """Return the text at the top of the page, in Markdown."""
    settings = tagger.settings
    return INTRODUCTION.format(
        title=settings.title,
        tags=len(tagger.tags),
        tag_range=settings.tag_range,
        host=urlsplit(settings.site).netloc,
        site=settings.site,
        language=settings.language,
    )


def add_question(settings: Settings) -> tuple:
    """Add the fields of a question to the page and return them."""
    import gradio as gr

    title = gr.Textbox(
        label="Title",
        placeholder="What is your question? Be specific.",
        max_length=settings.max_title,
        elem_id="title",
    )
    description = gr.Textbox(
        label="Description",
        placeholder="What did you try, and what did you expect? Shift+Enter also asks for tags.",
        lines=8,
        max_lines=16,
        max_length=settings.max_description,
        elem_id="description",
    )
    return title, description


def add_result() -> tuple:
    """Add the outputs to the page and return them: the answer, its tags to tick, those to copy, the explanation."""
    import gradio as gr

    answer = gr.HTML(EMPTY, label="Suggested tags", show_label=True, container=True, padding=True, elem_id="answer")
    boxes = gr.CheckboxGroup([], label="Tags to use", visible=False, elem_id="ticks")
    names = gr.Textbox(
        label="To paste into the site's tag field", buttons=["copy"], interactive=False, elem_id="all-tags"
    )
    boxes.input(None, inputs=boxes, outputs=names, js="(ticked) => ticked.join(' ')", api_visibility="private")
    words = gr.HTML(label="Why these tags", elem_id="words")
    return answer, boxes, names, words


def add_history(app, question: tuple, history) -> None:
    """Add the last questions, which the browser stores, as one button each."""
    import gradio as gr

    def label(questions: list | None) -> list:
        shown = [gr.Button((title or description)[:80], visible=True) for title, description in questions or []]
        return shown + [gr.Button(visible=False)] * (MAX_HISTORY - len(shown))

    with gr.Accordion("Your last questions", open=False):
        gr.Markdown(PRIVACY)
        buttons = [gr.Button(visible=False, size="sm") for _ in range(MAX_HISTORY)]
        for place, button in enumerate(buttons):
            button.click(itemgetter(place), inputs=history, outputs=list(question), api_visibility="private")
        forget = gr.Button("Forget them", size="sm")
        forget.click(list, outputs=history, api_visibility="private")
    gr.on([app.load, history.change], label, inputs=history, outputs=buttons, api_visibility="private")


def build_app(served):
    """Return the Gradio app of a :class:`tagging.served.ServedTagger`."""
    import gradio as gr

    settings = served.now.settings
    show, show_words = make_handlers(served)
    with gr.Blocks(title=settings.title, analytics_enabled=False) as app:
        history = gr.BrowserState([], storage_key="question-tagger")
        intro = gr.Markdown(introduction(served.now), elem_id="intro")
        if served.follows:
            app.load(lambda: introduction(served.now), outputs=intro, api_visibility="private")
        with gr.Row():
            with gr.Column(min_width=300):
                question = add_question(settings)
                with gr.Row():
                    clear = gr.Button("Clear", min_width=100)
                    ask = gr.Button("Suggest tags", variant="primary", min_width=160, elem_id="ask")
            with gr.Column(min_width=300):
                result = add_result()
                why = gr.Button("Why these tags?", elem_id="why")
        if settings.examples:
            examples = gr.Examples(
                [[example.title, example.description] for example in settings.examples],
                inputs=list(question),
                example_labels=[example.label for example in settings.examples],
                label="Try one of these",
                cache_examples=False,  # a Space would otherwise tag them all before it starts
                preload=False,
                api_visibility="private",
            )
        add_history(app, question, history)
        # The page and the API share one slot of the model.
        model = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
        page = {"fn": show, "inputs": [*question, history], "outputs": [*result, history], **model}
        gr.on([ask.click, *(field.submit for field in question)], **page)
        if settings.examples:
            examples.load_input_event.then(**page)
        why.click(show_words, inputs=list(question), outputs=result[-1], **model)
        clear.click(lambda: ("", "", EMPTY, no_boxes(), "", ""), outputs=[*question, *result], api_visibility="private")
        add_api(served)
    app.queue(max_size=MAX_QUEUE)
    if tuple(map(int, gr.__version__.split(".")[:2])) < (6, 25):
        forget_old_events(app._queue)
    return app


def forget_old_events(queue) -> None:
    """Keep the last MAX_EVENTS calls of a Gradio below 6.25, which keeps all of them (gradio-app/gradio#11602)."""
    from gradio.utils import LRUCache

    queue.event_analytics = LRUCache(MAX_EVENTS)
    queue.pending_messages_per_session = LRUCache(MAX_EVENTS)
    queue.event_ids_to_events = LRUCache(MAX_EVENTS)
    queue.pending_event_ids_session = LRUCache(MAX_EVENTS)
    queue._asyncio_tasks = deque(maxlen=MAX_EVENTS)


def make_theme():
    """Return a theme with system fonts, which need no other host, and colours of sufficient contrast."""
    import gradio as gr

    return gr.themes.Soft(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    ).set(
        background_fill_primary="*neutral_50",
        button_primary_background_fill="var(--accent)",
        button_primary_background_fill_dark="var(--accent)",
        button_primary_background_fill_hover="var(--accent-hover)",
        button_primary_background_fill_hover_dark="var(--accent-hover)",
        button_primary_text_color="var(--on-accent)",
        button_primary_text_color_dark="var(--on-accent)",
        checkbox_label_background_fill_selected="var(--accent)",
        checkbox_label_background_fill_selected_dark="var(--accent)",
        checkbox_label_text_color_selected="var(--on-accent)",
        checkbox_label_text_color_selected_dark="var(--on-accent)",
        block_title_text_color="*primary_700",
        block_label_text_color="*primary_700",
        block_info_text_color="*neutral_600",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def ignore_network_settings() -> None:
    """Make gradio ignore proxies and certificates of the environment: the app calls only itself, on the loopback."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        os.environ.pop(name, None)


def declare_gpu_function() -> None:
    """Give a ZeroGPU Space, where the package spaces is installed, the GPU function without which it does not start.

    The function does nothing: the model runs on the CPU, which takes no visitor's share of the GPU.
    """
    try:
        import spaces
    except ImportError:
        return

    @spaces.GPU
    def unused() -> None:
        pass


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        served = ServedTagger(args.model)
    except ModelFolderError as error:
        sys.exit(str(error))

    # Both must be set before gradio is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    ignore_network_settings()
    declare_gpu_function()
    app = build_app(served)
    # On each request, gradio.routes of Gradio 6.17.3 uses a constant that starlette has renamed.
    warnings.filterwarnings("ignore", module=r"gradio\.routes")
    try:
        app.launch(
            server_port=args.port,
            theme=make_theme(),
            css=CSS,
            css_paths=[Path(__file__).with_name(name) for name in STYLES],
            ssr_mode=False,
            show_error=False,
            state_session_capacity=MAX_SESSIONS,
            footer_links=["api", "settings"],
        )
    except OSError:
        sys.exit(f"port {args.port} is in use or not permitted: choose another with --port")


if __name__ == "__main__":
    run_script(main)
