"""Where the files of a published set are: in a named folder, or downloaded once and checked."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lehr.base.paths import path_of
from lehr.base.user_cache import user_cache


@dataclass(frozen=True)
class Published:
    """A data set that is published as files.

    Args:
        name: what messages call it, and its folder among the downloads.
        url: where its files are, up to the last slash.
        md5: the checksum of each file, by name.
        places: folders that it may be in, below the one that is searched.

    Example:
        >>> set = Published("tiny", "http://example.org/", {"tiny.gz": "0" * 32}, ("tiny", "."))
        >>> set.find("/nowhere", "tiny.gz", "tiny") is None
        True
    """

    name: str
    url: str
    md5: Mapping[str, str]
    places: tuple[str, ...]

    def local(self, root: str | Path | None, *names: str) -> Path | None:
        """The first of these files or folders that is there, without any download.

        Args:
            root: the only folder to search; by default the one that the environment variable
                LEHR_DATA names, if it is set.
            *names: what is looked for, the best first.

        Raises:
            FileNotFoundError: ``root``, or else LEHR_DATA, names a folder that does not exist.
        """
        named = root if root is not None else os.environ.get("LEHR_DATA")
        if root is not None and not path_of(root).is_dir():
            raise FileNotFoundError(f"root must be a folder; {root} is none. Check the spelling.")
        if named and not path_of(named).is_dir():
            raise FileNotFoundError(
                f"the environment variable LEHR_DATA must name a folder; {named} is none. Check "
                "the spelling, or unset it to have the files downloaded."
            )
        return self.find(named, *names) if named else None

    def find(self, folder: str | Path, *names: str) -> Path | None:
        """The first of these files or folders that is in one of the places below ``folder``."""
        candidates = (path_of(folder, place, name) for place in self.places for name in names)
        return next((path for path in candidates if path.exists()), None)

    def missing(self, root: str | Path, *names: str) -> FileNotFoundError:
        """The error that ``root`` has none of these."""
        folders = ", ".join(str(path_of(root, place)) for place in self.places)
        return FileNotFoundError(
            f"{' or '.join(names)} must be in one of {folders}; it is in none. Put {self.name}'s "
            "published files there, or leave root out to have them downloaded."
        )

    def download(self, file: str) -> Path:
        """The file among the downloads of earlier times, else from the network.

        Raises:
            OSError: it cannot be had, or what came is not what was published.
        """
        import pooch

        url = self.url + file
        try:
            folder = downloads() / self.name
            path = pooch.retrieve(url, known_hash=f"md5:{self.md5[file]}", fname=file, path=folder)
        except Exception as error:  # the network fails in many ways; a wrong checksum is another
            said = str(error)
            fault = f"what came is not what was published: {said.split('. The ')[0]}"
            if "does not match the known hash" not in said:
                fault = f"the download failed: {type(error).__name__}: {said}"
            raise OSError(
                f"{file} of {self.name} cannot be had from {url}: {fault}. Check the network, or "
                f"put the file into {self.places[0]}/ of a folder and name that folder in the "
                f"environment variable LEHR_DATA. Expected is md5 {self.md5[file]}."
            ) from error
        return Path(path)


def downloads() -> Path:
    """The folder that keeps downloads from one time to the next.

    Example:
        >>> downloads().name
        'lehr'
    """
    return user_cache()
