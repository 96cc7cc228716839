"""Where a model comes from: a local directory or a repository of the Hugging Face hub."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fastrag_quant.arguments import absolute_path
from fastrag_quant.errors import ModelError, first_line

# Everything but weights, in folders too: a few hundred kilobytes that say what the model is.
METADATA_PATTERNS = ("*.json", "*.txt", "*.model")

# The files of a directory: relative path, inode, size and time of change of each.
ModelState = tuple[tuple[str, int, int, int], ...]

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def located(name: str) -> str:
    """Return a model's name that means the same wherever the process goes: a directory's absolute path.

    A name that is no directory's stays as it is, where it can be that of a hub model.
    """
    path = absolute_path(name)
    return str(path) if path.is_dir() or not _looks_like_hub_name(name) else name


def last_parts(name: str) -> str:
    """Return the last two parts of a model's path, which a hub name has and no more: who made it, and its name."""
    return "/".join(PurePosixPath(name).parts[-2:])


@dataclass(frozen=True)
class ModelSource:
    """A model by local path or hub name.

    :param name: a directory, or the name of a repository on the Hugging Face hub.
    :param revision: branch, tag or commit on the hub; ignored for a directory.
    :param token: hub access token; None uses the one that ``huggingface-cli login`` stored.
    :param local_files_only: never ask the network, use the hub's local cache alone.
    """

    name: str
    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    local_files_only: bool = False

    @property
    def is_local(self) -> bool:
        """Whether the name is that of an existing directory."""
        return Path(self.name).expanduser().is_dir()

    @property
    def public_name(self) -> str:
        """The name to record in a manifest: a hub name, or the last part of a local path."""
        return Path(self.name).expanduser().resolve().name if self.is_local else self.name

    def fetch(self, patterns: tuple[str, ...] = METADATA_PATTERNS) -> Path:
        """Return a directory that holds the model's files, downloading them where needed.

        :param patterns: which files to download; a local directory is returned as it is.
        :return: the local directory, or the snapshot in the hub's cache.
        :raises ModelError: if there is no such directory and the hub has no such model, or none
            could be reached.
        """
        if self.is_local:
            return Path(self.name).expanduser()
        if not _looks_like_hub_name(self.name):
            msg = f"There is no model directory {self.name!r}: pass an existing directory or the name of a hub model."
            raise ModelError(msg)
        return self._download(patterns)

    def state(self) -> ModelState:
        """Return what tells one state of a local directory from another: its files by inode, size and time of change.

        :return: nothing for a hub model, whose revisions have directories of their own.
        """
        if not self.is_local:
            return ()
        directory = Path(self.name).expanduser()
        found: list[tuple[str, int, int, int]] = []
        for path in (directory, *sorted(directory.glob("[!.]*")), *sorted(directory.glob("[!.]*/[!.]*"))):
            try:
                stat = path.stat()
            except OSError:  # a link to nowhere, or a file that was removed meanwhile
                continue
            # A directory's own time changes with files that no model reads.
            of_content = (0, 0) if path.is_dir() else (stat.st_size, stat.st_mtime_ns)
            found.append((str(path.relative_to(directory)), stat.st_ino, *of_content))
        return tuple(found)

    def _download(self, patterns: tuple[str, ...]) -> Path:
        # Imported here because it takes a third of a second that local models need not pay.
        from huggingface_hub import snapshot_download

        try:
            directory = snapshot_download(
                self.name,
                revision=self.revision,
                token=self.token,
                local_files_only=self.local_files_only,
                allow_patterns=list(patterns),
            )
        except Exception as error:  # the hub raises OSError, ValueError, requests' and httpx's errors, by version
            # An HTTP client shows a header that it cannot send, with the token in it.
            secret = self.token.strip() if isinstance(self.token, str) else ""
            shows_token = bool(secret) and secret in str(error)
            reason = "the token holds characters that none has" if shows_token else first_line(error)
            msg = (
                f"There is no directory {self.name!r}, and the Hugging Face hub did not give a model of that name "
                f"({reason}). Check the name, the network and the token, or pass a local directory."
            )
            raise ModelError(msg) from (None if shows_token else error)
        return Path(directory)


def _looks_like_hub_name(name: str) -> bool:
    return _HUB_NAME.fullmatch(name) is not None and not name.startswith(".") and os.sep * 2 not in name
