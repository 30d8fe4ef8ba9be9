"""The tagger that an app serves: that of a model folder, or the one that is in service of a site's folder."""

import sys
import threading
import time
from pathlib import Path

from tagging.model_folder import ModelFolderError, served_folder
from tagging.tagger import Tagger

CHECK_SECONDS = 1.0  # between two looks at releases.json


class ServedTagger:
    """The tagger of now. In the folder of a site, the release that is promoted or restored takes its place.

    The new model is loaded beside the old one, and requests go on meanwhile. A request that took ``now`` once is
    answered by one model from beginning to end. A release that cannot be loaded leaves the old one in service.

    Parameters
    ----------
    folder : Path
        A model folder, or the folder of a site, see :mod:`tagging.model_folder`.

    Attributes
    ----------
    now : Tagger
        Take it once per request.
    follows : bool
        Whether ``now`` may change.

    Raises
    ------
    ModelFolderError
        As :class:`tagging.tagger.Tagger`, or no release is in service.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._release = served_folder(folder)
        self.now = Tagger(self._release)
        self.follows = self._release != folder
        if self.follows:
            threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        complaint = ""
        while True:
            time.sleep(CHECK_SECONDS)
            try:
                release = served_folder(self._folder)
                if release != self._release:
                    self.now, self._release = Tagger(release), release
                    print(f"now in service: {release}", flush=True)
                complaint = ""
            except ModelFolderError as error:
                if str(error) != complaint:  # once, not every second
                    complaint = str(error)
                    print(f"{self._release} stays in service: {complaint}", file=sys.stderr, flush=True)
