"""The tagger as a Gradio app: a page for people, and the endpoint /predict for programs (see README.md).

    python deployment/app.py --port 7860

The model is loaded from the folder model/ beside this file, or from the one that TAGGER_MODEL names.
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

from tagger import ModelFolderError, Tagger, default_model_folder, suggest

RUNNERS_UP = 5  # tags shown beside the suggested ones
MAX_TITLE, MAX_DESCRIPTION = 300, 30_000  # characters that the page's fields take; the model reads the first of them

EXAMPLES = {
    "Loss turns into NaN": (
        "Training loss becomes NaN after a few hundred steps",
        "My small convolutional network in PyTorch learns well for the first 300 batches, then the loss jumps to NaN "
        "and never returns. A lower learning rate only delays it. How do I find out whether the gradients explode or "
        "the data holds a bad value?",
    ),
    "Churn with rare positives": (
        "Which metric for churn prediction when only 2 % of customers leave?",
        "I fit a gradient boosted classifier on customer data. Accuracy is 98 %, but so is that of predicting that "
        "nobody leaves. Should I resample the training set, weight the classes, or move the threshold, and how do I "
        "compare the results?",
    ),
    "Merge on the nearest date": (
        "Join two pandas data frames on the nearest timestamp",
        "One frame holds sensor readings every few seconds, the other maintenance events at odd times. I want each "
        "event beside the last reading before it, within five minutes, without a loop over the rows.",
    ),
    "How many clusters": (
        "How many clusters should I choose for k-means on customer data?",
        "The elbow plot is a smooth curve and the silhouette score keeps growing until every point is a cluster of "
        "its own. Features are standardized. Is there a sounder criterion, or is k-means the wrong tool here?",
    ),
}

INTRODUCTION = """
# Question tagger
Write a question as you would ask it. Of the {tags} tags it knows, the model suggests the one to five that fit best.
"""

CSS = """
.gradio-container > .main { max-width: 1080px !important; padding-inline: 1rem !important; }
#intro h1 { margin-bottom: .2em; }
#suggested textarea { font-family: var(--font-mono); font-size: var(--text-lg); }
"""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("GRADIO_SERVER_PORT") or 7860,
        help="port to listen on; the environment variable GRADIO_SERVER_PORT sets another default",
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=default_model_folder(),
        help="model folder; the environment variable TAGGER_MODEL sets another default",
    )
    return parser.parse_args(argv)


def rank(tagger, title: str, description: str) -> dict[str, list[dict]]:
    """Return a question's suggested tags and the runners-up, both most probable first, as /predict gives them."""
    probabilities = tagger.probabilities([title], [description])
    chosen = suggest(probabilities, tagger.thresholds)[0]
    ranked = (-probabilities[0]).argsort(kind="stable")

    def rows(indices) -> list[dict]:
        return [
            {"tag": tagger.tags[index], "probability": round(float(probabilities[0, index]), 4)} for index in indices
        ]

    return {"suggested": rows(ranked[chosen[ranked]]), "others": rows(ranked[~chosen[ranked]][:RUNNERS_UP])}


def make_handlers(tagger) -> tuple:
    """Return the functions behind the endpoint and behind the page."""
    import gradio as gr

    def predict(title: str = "", description: str = "") -> dict:
        """Suggest the tags of a question from its title, its description, or both.

        Returns {"suggested": [{"tag": ..., "probability": ...}, ...], "others": [...]}: one to five suggested tags,
        then the most probable of the rest, both most probable first.
        """
        if not isinstance(title, str) or not isinstance(description, str):
            raise gr.Error("title and description must be strings", print_exception=False)
        if not title.strip() and not description.strip():
            raise gr.Error("the question is empty: give it a title or a description", print_exception=False)
        return rank(tagger, title, description)

    def show(title: str, description: str) -> tuple[str, dict[str, float]]:
        """Fill the page: the suggested tags in the site's form, and every shown tag's confidence."""
        if not title.strip() and not description.strip():
            gr.Warning("Write a title or a description first, then ask for tags.", duration=5)
            return "", {}
        ranked = rank(tagger, title, description)
        confidences = {f"✓ {row['tag']}": row["probability"] for row in ranked["suggested"]}
        confidences |= {row["tag"]: row["probability"] for row in ranked["others"]}
        return " ".join(row["tag"] for row in ranked["suggested"]), confidences

    return predict, show


def add_question() -> tuple:
    """Add the fields of a question to the page and return them."""
    import gradio as gr

    title = gr.Textbox(
        label="Title",
        placeholder="What is your question? Be specific.",
        max_length=MAX_TITLE,
        elem_id="title",
    )
    description = gr.Textbox(
        label="Description",
        placeholder="What did you try, and what did you expect? Shift+Enter also asks for tags.",
        lines=8,
        max_lines=16,
        max_length=MAX_DESCRIPTION,
        elem_id="description",
    )
    return title, description


def add_result() -> tuple:
    """Add the fields of an answer to the page and return them."""
    import gradio as gr

    suggested = gr.Textbox(
        label="Suggested tags",
        info="Copy them into the site's tag field.",
        placeholder="Your tags will appear here.",
        buttons=["copy"],
        interactive=False,
        elem_id="suggested",
    )
    confidences = gr.Label(label="Confidence (✓ = suggested)", show_heading=False, elem_id="confidences")
    return suggested, confidences


def build_app(tagger):
    """Return the Gradio app around a loaded :class:`tagger.Tagger`."""
    import gradio as gr

    predict, show = make_handlers(tagger)
    with gr.Blocks(title="Question tagger", analytics_enabled=False) as app:
        gr.Markdown(INTRODUCTION.format(tags=len(tagger.tags)), elem_id="intro")
        with gr.Row():
            with gr.Column(min_width=300):
                question = add_question()
                with gr.Row():
                    clear = gr.Button("Clear", min_width=100)
                    ask = gr.Button("Suggest tags", variant="primary", min_width=160, elem_id="ask")
            with gr.Column(min_width=300):
                result = add_result()
        examples = gr.Examples(
            [list(example) for example in EXAMPLES.values()],
            inputs=list(question),
            example_labels=list(EXAMPLES),
            label="Try one of these",
            cache_examples=False,  # or a Space would tag them all before it starts
            preload=False,
            api_visibility="private",
        )
        # One question at a time goes through the model, from the page and the endpoint together.
        page = {"fn": show, "inputs": question, "outputs": result, "concurrency_id": "model"}
        gr.on([ask.click, *(field.submit for field in question)], **page, api_visibility="private")
        examples.load_input_event.then(**page, api_visibility="private")
        clear.click(lambda: ("", "", "", {}), outputs=[*question, *result], api_visibility="private")
        gr.api(predict, api_name="predict", concurrency_id="model")
    return app


def make_theme():
    """Return a theme with fonts of the reader's system, as no other host is needed, and colours of enough contrast."""
    import gradio as gr

    return gr.themes.Soft(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    ).set(
        background_fill_primary="*neutral_50",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        block_title_text_color="*primary_700",
        block_label_text_color="*primary_700",
        block_info_text_color="*neutral_600",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        tagger = Tagger(args.model)
    except ModelFolderError as error:
        sys.exit(str(error))

    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    app = build_app(tagger)
    # With each request, gradio.routes uses a constant that starlette has renamed.
    warnings.filterwarnings("ignore", module=r"gradio\.routes")
    try:
        app.launch(server_port=args.port, theme=make_theme(), css=CSS, ssr_mode=False, footer_links=["api", "settings"])
    except OSError:
        sys.exit(f"port {args.port} is taken or not allowed: name another with --port")


if __name__ == "__main__":
    main()
