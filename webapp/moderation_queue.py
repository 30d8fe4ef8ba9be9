"""The moderation queue: suggested changes of tags and the decisions about them, in an SQLite file.

A question that a reviewer is shown is leased to that reviewer for LEASE_SECONDS. What is decided leaves the queue, and
a worklist that is made anew does not bring it back. Skipped questions come after all others.
"""

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from data.decisions import ACCEPT, REJECT, REPLACE, Decision, changed_tags
from data.worklist_file import CHANGES

LEASE_SECONDS = 15 * 60
SKIP = "skip"
CERTAIN, DOUBTFUL = ORDERS = ("certain", "doubtful")
SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS questions (
    url TEXT PRIMARY KEY,
    row TEXT NOT NULL,           -- of the worklist, as JSON, with the description
    score REAL NOT NULL,
    skipped INTEGER NOT NULL DEFAULT 0,
    leased_by TEXT,
    leased_until REAL
);
CREATE INDEX IF NOT EXISTS by_score ON questions (skipped, score);
CREATE INDEX IF NOT EXISTS by_lease ON questions (leased_by);
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    url TEXT NOT NULL,
    action TEXT NOT NULL,        -- accept, reject, replace or skip
    row TEXT NOT NULL,           -- of the question, as above
    tags_after TEXT NOT NULL,    -- a JSON array
    reviewer TEXT NOT NULL,
    decided_at TEXT NOT NULL     -- ISO 8601, UTC
);
CREATE INDEX IF NOT EXISTS by_reviewer ON decisions (reviewer, decided_at);
CREATE INDEX IF NOT EXISTS by_url ON decisions (url);
"""


class NotLeased(Exception):
    """The question is decided, or leased to someone else."""


@dataclass(frozen=True)
class Progress:
    """What is left in the queue, what a reviewer has decided since midnight, and accepted and decided suggestions."""

    waiting: int
    today: int
    accepted: dict[str, int]
    decided: dict[str, int]


class ModerationQueue:
    """The queue in the file ``path``, which is made if it is not there. Each call opens a connection: thread-safe.

    Raises
    ------
    ValueError
        If the file is not an SQLite database.
    """

    def __init__(self, path: Path):
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._transaction() as database:
                for statement in SCHEMA.split(";\n"):
                    database.execute(statement)
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path}: not a moderation queue ({error}); name another file with --queue") from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection within a transaction that no other one writes in between."""
        database = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = WAL")  # readers do not wait for a writer
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
        finally:
            database.close()  # rolls back what is not committed

    def secret(self) -> str:
        """Return the key that signs the cookies of this queue's reviewers, the same after a restart."""
        with self._transaction() as database:
            database.execute("INSERT OR IGNORE INTO settings VALUES ('secret', ?)", [secrets.token_hex(32)])
            return database.execute("SELECT value FROM settings WHERE name = 'secret'").fetchone()[0]

    def replace_worklist(self, rows: Iterable[dict]) -> int:
        """Take a worklist in the place of the one before, and return how many questions wait.

        Changes that were decided are left out, and so are questions without any other change. Leases and skips stay.

        Parameters
        ----------
        rows : as of :func:`data.worklist_file.read_worklist`, each with its ``description``, which may be ''
        """
        with self._transaction() as database:
            decided: dict[str, list[Decision]] = {}
            for decision in _decisions(database):
                decided.setdefault(decision.url, []).append(decision)
            kept = {
                url: state
                for url, *state in database.execute("SELECT url, skipped, leased_by, leased_until FROM questions")
            }
            database.execute("DELETE FROM questions")
            for row in rows:
                past = decided.get(row["url"], [])
                left = row | {
                    kind: [
                        change for change in row[kind] if not any(decision.settles(change["tag"]) for decision in past)
                    ]
                    for kind in CHANGES
                }
                if left["add"] or left["remove"]:
                    state = kept.get(row["url"], [0, None, None])
                    database.execute(
                        "INSERT OR REPLACE INTO questions VALUES (?, ?, ?, ?, ?, ?)",
                        [row["url"], json.dumps(left, ensure_ascii=False), row["score"], *state],
                    )
            return database.execute("SELECT count(*) FROM questions").fetchone()[0]

    def next_question(self, reviewer: str, order: str) -> dict | None:
        """Lease a question to ``reviewer``, the one that they have or the next, and return its row; None without one.

        Parameters
        ----------
        order : CERTAIN, the highest scores first, or DOUBTFUL, the lowest first
        """
        direction = {CERTAIN: "DESC", DOUBTFUL: "ASC"}[order]
        now = time.time()
        with self._transaction() as database:
            found = database.execute(
                "SELECT url, row FROM questions WHERE leased_by = ? AND leased_until > ?", [reviewer, now]
            ).fetchone()
            found = (
                found
                or database.execute(
                    "SELECT url, row FROM questions WHERE leased_until IS NULL OR leased_until <= ? "
                    f"ORDER BY skipped, score {direction} LIMIT 1",
                    [now],
                ).fetchone()
            )
            if not found:
                return None
            _lease(database, found[0], reviewer, now)
            return json.loads(found[1])

    def release(self, reviewer: str) -> None:
        """End the lease of ``reviewer``."""
        with self._transaction() as database:
            _release(database, reviewer)

    def decide(self, reviewer: str, url: str, action: str, tags_after: Sequence[str] = ()) -> None:
        """Record a decision about the question that ``reviewer`` has; ``tags_after`` is for REPLACE.

        Raises
        ------
        NotLeased
            If the question is no longer in the queue, or someone else has it.
        """
        now = time.time()
        with self._transaction() as database:
            found = database.execute(
                "SELECT row FROM questions WHERE url = ? AND (leased_by = ? OR leased_until <= ?)",
                [url, reviewer, now],
            ).fetchone()
            if not found:
                raise NotLeased
            row = json.loads(found[0])
            if action == SKIP:
                database.execute(
                    "UPDATE questions SET leased_by = NULL, leased_until = NULL, "
                    "skipped = 1 + (SELECT max(skipped) FROM questions) WHERE url = ?",
                    [url],
                )
            else:
                database.execute("DELETE FROM questions WHERE url = ?", [url])
            after = {ACCEPT: suggested_tags(row), REPLACE: list(tags_after)}.get(action, row["tags"])
            database.execute(
                "INSERT INTO decisions (url, action, row, tags_after, reviewer, decided_at) VALUES (?, ?, ?, ?, ?, ?)",
                [url, action, found[0], json.dumps(after), reviewer, datetime.now(UTC).isoformat(timespec="seconds")],
            )

    def undo(self, reviewer: str) -> bool:
        """Take back the last decision or skip of ``reviewer``, who gets the question again; False if there is none."""
        now = time.time()
        with self._transaction() as database:
            last = database.execute(
                "SELECT id, url, action, row FROM decisions WHERE reviewer = ? ORDER BY id DESC LIMIT 1", [reviewer]
            ).fetchone()
            if not last:
                return False
            number, url, action, row = last
            database.execute("DELETE FROM decisions WHERE id = ?", [number])
            _release(database, reviewer)
            if action == SKIP:  # the question never left, and a new worklist may have changed it or dropped it
                database.execute("UPDATE questions SET skipped = 0 WHERE url = ?", [url])
            else:
                database.execute(
                    "INSERT INTO questions (url, row, score) VALUES (?, ?, ?) "
                    "ON CONFLICT (url) DO UPDATE SET row = excluded.row, score = excluded.score, skipped = 0",
                    [url, row, json.loads(row)["score"]],
                )
            _lease(database, url, reviewer, now)
            return True

    def progress(self, reviewer: str, midnight: datetime) -> Progress:
        """Return the figures of the page; ``midnight`` is the beginning of the reviewer's day, with a time zone."""
        with self._transaction() as database:
            waiting = database.execute("SELECT count(*) FROM questions").fetchone()[0]
            today = database.execute(
                "SELECT count(*) FROM decisions WHERE reviewer = ? AND decided_at >= ? AND action != ?",
                [reviewer, midnight.astimezone(UTC).isoformat(timespec="seconds"), SKIP],
            ).fetchone()[0]
            counted = database.execute(
                "SELECT json_array_length(row, '$.add') > 0, action, count(*) FROM decisions "
                "WHERE action IN (?, ?) AND (json_array_length(row, '$.add') > 0) "
                "!= (json_array_length(row, '$.remove') > 0) GROUP BY 1, 2",
                [ACCEPT, REJECT],
            ).fetchall()
        accepted, decided = {"add": 0, "remove": 0}, {"add": 0, "remove": 0}
        for is_addition, action, count in counted:
            kind = "add" if is_addition else "remove"
            decided[kind] += count
            accepted[kind] += count if action == ACCEPT else 0
        return Progress(waiting, today, accepted, decided)

    def decisions(self) -> list[Decision]:
        """Return all decisions, oldest first; skips are none."""
        with self._transaction() as database:
            return _decisions(database)

    def descriptions(self) -> dict[str, str]:
        """Return the descriptions of the decided questions that have one, by url."""
        with self._transaction() as database:
            rows = database.execute("SELECT url, row FROM decisions").fetchall()
        return {url: text for url, row in rows if (text := json.loads(row).get("description"))}


def suggested_tags(row: dict) -> list[str]:
    """Return the tags of a row of the worklist after its suggested changes."""
    add, remove = ([change["tag"] for change in row[kind]] for kind in CHANGES)
    return changed_tags(row["tags"], add, remove)


def _lease(database: sqlite3.Connection, url: str, reviewer: str, now: float) -> None:
    """Lease a question to ``reviewer``, unless someone else has it."""
    database.execute(
        "UPDATE questions SET leased_by = ?, leased_until = ? "
        "WHERE url = ? AND (leased_by = ? OR leased_until IS NULL OR leased_until <= ?)",
        [reviewer, now + LEASE_SECONDS, url, reviewer, now],
    )


def _release(database: sqlite3.Connection, reviewer: str) -> None:
    database.execute("UPDATE questions SET leased_by = NULL, leased_until = NULL WHERE leased_by = ?", [reviewer])


def _decisions(database: sqlite3.Connection) -> list[Decision]:
    decisions = []
    for text, action, after, reviewer, decided_at in database.execute(
        "SELECT row, action, tags_after, reviewer, decided_at FROM decisions WHERE action != ? ORDER BY id", [SKIP]
    ):
        row = json.loads(text)
        add, remove = (tuple(change["tag"] for change in row[kind]) for kind in CHANGES)
        decisions.append(
            Decision(
                url=row["url"],
                title=row["title"],
                tags=tuple(row["tags"]),
                add=add,
                remove=remove,
                action=action,
                tags_after=tuple(json.loads(after)),
                score=row["score"],
                reviewer=reviewer,
                decided_at=decided_at,
            )
        )
    return decisions
