"""Downloads from a hub and uploads to it: Hugging Face's, or the one that HF_ENDPOINT names.

Whatever goes wrong is a HubError of one sentence. What was fetched is kept in HF_HOME and serves offline from then on.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from mezzotint.errors import HubError

_PART = r"[A-Za-z0-9_][\w.-]*"
_NAME = re.compile(rf"(?P<name>{_PART}/{_PART})(@(?P<revision>[\w./-]+))?", re.ASCII)
LOGIN = "`hf auth login`"
SET = "hf:"
"""The prefix of names of data sets on a hub, where names of files can be given too."""


def parse(text: str) -> tuple[str, str | None] | None:
    """(owner/name, revision or None) of "owner/name" or "owner/name@revision"; None for any other text."""
    match = _NAME.fullmatch(text)
    return (match["name"], match["revision"]) if match else None


def fetch(name: str, files: Sequence[str], revision: str | None = None) -> Path:
    """A folder with those of `files` that the model repository `name` has at a branch, tag or commit."""
    from huggingface_hub import snapshot_download

    with hub_errors(name, revision), _progress_bars():
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files), library_name="mezzotint"))


def push(folder: Path, name: str, *, private: bool, message: str) -> str:
    """Put the files of a folder into the model repository `name` in one commit; returns the commit's address.

    A repository that is not there yet is made, private or not; one that is there stays as visible as it was.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(library_name="mezzotint")
    with hub_errors(name), _progress_bars():
        api.create_repo(name, private=private, exist_ok=True)
        files = [CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir())]
        return api.create_commit(name, files, commit_message=message).commit_url


@contextmanager
def hub_errors(name: str, revision: str | None = None) -> Iterator[None]:
    """Turn what the library for the hub raises about a repository into a HubError."""
    from huggingface_hub import errors

    # Its own name for the client library, which differs from version to version.
    client: Any = import_module("huggingface_hub.utils").httpx
    try:
        yield
    except errors.HFValidationError:
        raise HubError(f"'{name}' names no repository of a hub; write owner/name") from None
    except errors.RevisionNotFoundError:
        raise HubError(f"{name} has no revision '{revision}' on the hub; leave it out for the newest") from None
    except errors.GatedRepoError:
        raise HubError(f"{name} is gated: ask for access on its page, then log in with {LOGIN}") from None
    except errors.RepositoryNotFoundError:
        raise HubError(f"{name} is not on the hub, or not for you to see; check its spelling or {LOGIN}") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise HubError(f"the hub cannot be reached, and {name} was not fetched while it could be") from None
    except errors.HfHubHTTPError as error:
        raise HubError(_http_error(name, error.response.status_code)) from None
    except (client.HTTPError, ConnectionError, TimeoutError) as error:
        reason = " ".join(str(error).split())
        raise HubError(f"the hub cannot be reached for {name} ({reason}); try again when it can be") from None
    except OSError as error:
        raise HubError(f"{name} cannot be kept on this disk ({error.strerror or error})") from None


@contextmanager
def _progress_bars() -> Iterator[None]:
    """Progress bars on a terminal only: in a file they would be lines upon lines."""
    utils: Any = import_module("huggingface_hub.utils")
    hides = not utils.are_progress_bars_disabled() and not (sys.stderr is not None and sys.stderr.isatty())
    if hides:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if hides:
            utils.enable_progress_bars()


def _http_error(name: str, status: int) -> str:
    if status in (401, 403):
        return f"the hub keeps {name} from you; log in with {LOGIN} as someone who may read or write it"
    return f"the hub answered {status} when asked for {name}; try again later"
