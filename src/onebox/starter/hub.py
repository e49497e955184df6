"""Fetch a model from the model hub through huggingface_hub, file by file, each one verified."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from onebox.registry import layout
from onebox.starter.download import require_space
from onebox.starter.errors import PullFailed, SourceUnreachable, WrongContents
from onebox.starter.progress import Progress
from onebox.starter.staging import is_plain_name, staged

if TYPE_CHECKING:
    from huggingface_hub import HfApi

DEFAULT_PATTERNS = (
    *("*.safetensors", "*.json", "*.gguf"),
    *("*.txt", "*.model", "*.jinja", "*.tiktoken", "*.spm", "*.bpe", "*.vocab"),
    *("LICENSE*", "LICENCE*", "NOTICE*"),
)
PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_ASK_TIMEOUT_S = 10.0
_BLOCK_BYTES = 1 << 20


class HubModel(NamedTuple):
    """What to fetch. Without a revision it is the newest; without `include` what loading needs."""

    repository: str
    revision: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class HubFile(NamedTuple):
    """`sha256` is of large files, `git_sha1` (of the file as a git blob) of all others."""

    name: str
    size_bytes: int
    sha256: str
    git_sha1: str


def pull_hub(
    model: HubModel,
    target: Path,
    progress: Progress,
    *,
    sha256s: Mapping[str, str] | None = None,
    finish: Callable[[Path], None] | None = None,
) -> None:
    """Fetch a model into the folder `target`, which appears whole or not at all.

    Args:
        sha256s: what certain files must be, whatever the hub says of them.
        finish: gets the folder before it becomes visible, to add notes.

    The token comes from HF_TOKEN and the address from HF_ENDPOINT. Raises PullFailed and its kinds.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=os.environ.get("HF_TOKEN") or False)
    commit, files = _asked(model.repository, lambda: _files(api, model))
    total_bytes = sum(file.size_bytes for file in files)
    with staged(target, f"hf:{model.repository}@{commit} {' '.join(f.name for f in files)}") as at:
        require_space(at, total_bytes - _present_bytes(at))
        progress.begin(model.repository, total_bytes)
        done_bytes = 0
        for file in files:
            download = partial(
                api.hf_hub_download,
                model.repository,
                file.name,
                revision=commit,
                local_dir=at,
                tqdm_class=_meter(progress, done_bytes),
            )
            _asked(model.repository, download)
            _verify(at, file, (sha256s or {}).get(file.name))
            done_bytes += file.size_bytes
            progress.at(done_bytes)
        progress.end()
        shutil.rmtree(at / ".cache", ignore_errors=True)
        if finish is not None:
            finish(at)


def chosen(
    names: Sequence[str], include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> list[str]:
    """Which files of a repository are fetched: no pickles where there are safer weights."""

    def fits(name: str, patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    patterns = include
    if not include:
        safe = any(layout.extension(name) in (".safetensors", ".gguf") for name in names)
        patterns = DEFAULT_PATTERNS if safe else (*DEFAULT_PATTERNS, *PICKLE_PATTERNS)
    return [name for name in names if fits(name, patterns) and not fits(name, exclude)]


def _files(api: HfApi, model: HubModel) -> tuple[str, list[HubFile]]:
    """The commit that the revision means, and what to fetch of it."""
    info = api.model_info(
        model.repository, revision=model.revision, files_metadata=True, timeout=_ASK_TIMEOUT_S
    )
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    names = chosen(sorted(siblings), model.include, model.exclude)
    odd = [name for name in names if not all(map(is_plain_name, name.split("/")))]
    if odd:
        raise WrongContents(f"{model.repository} holds a file of an odd name: {odd[0][:100]!r}")
    if not names or info.sha is None:
        raise PullFailed(
            f"{model.repository} holds nothing to fetch; it has {', '.join(sorted(siblings)[:10])}"
        )
    found = []
    for name in names:
        sibling = siblings[name]
        sha256 = sibling.lfs.sha256 if sibling.lfs else ""
        found.append(HubFile(name, sibling.size or 0, sha256, sibling.blob_id or ""))
    return info.sha, found


def _asked(repository: str, question: Callable[[], Any]) -> Any:
    """Ask the hub; its errors in our words."""
    import httpx2
    from huggingface_hub import errors

    try:
        return question()
    except errors.OfflineModeIsEnabled as error:
        raise SourceUnreachable("HF_HUB_OFFLINE is set, so the model hub is not asked") from error
    except errors.GatedRepoError as error:
        raise PullFailed(
            f"{repository} wants its terms accepted on the model hub; do that there, then set "
            "HF_TOKEN to a token of yours"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise PullFailed(f"{repository} has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise PullFailed(
            f"the model hub knows no {repository}; if it is private, set HF_TOKEN to a token that "
            "may read it"
        ) from error
    except (errors.HFValidationError, errors.EntryNotFoundError) as error:
        raise PullFailed(f"{repository}: {_first_line(error)}") from error
    except errors.HfHubHTTPError as error:
        # Too many requests pass, as a fault of the hub does; any other 4xx is an answer.
        refuses = 400 <= error.response.status_code < 500 and error.response.status_code != 429
        kind = PullFailed if refuses else SourceUnreachable
        raise kind(f"the model hub does not give {repository}: {_first_line(error)}") from error
    except (errors.LocalEntryNotFoundError, httpx2.TransportError) as error:
        raise SourceUnreachable(
            f"the model hub does not answer ({_first_line(error)}); what came so far is kept"
        ) from error
    except OSError as error:
        raise PullFailed(f"{repository} cannot be fetched: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _verify(folder: Path, file: HubFile, pinned: str | None) -> None:
    """Raises WrongContents, and deletes the file, unless it is what the hub (and we) say."""
    path = folder / file.name
    sha256, git_sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    git_sha1.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK_BYTES):
            sha256.update(block)
            git_sha1.update(block)
    wanted = [(pinned, sha256), (file.sha256, sha256)]
    if not file.sha256:
        wanted.append((file.git_sha1, git_sha1))
    for digest, found in wanted:
        if digest and digest != found.hexdigest():
            path.unlink()
            raise WrongContents(
                f"{file.name} has the digest {found.hexdigest()} instead of {digest}; "
                "it was deleted, so try again"
            )


def _present_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _meter(progress: Progress, before_bytes: int) -> Any:
    """What huggingface_hub takes for a class of progress bars, and feeds with bytes."""

    class Meter:
        def __init__(self, *_: Any, initial: int = 0, total: int | None = None, **__: Any) -> None:
            self.n, self.total = initial, total

        def __enter__(self) -> Meter:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def update(self, count: float = 1) -> None:
            self.n += int(count)
            progress.at(before_bytes + self.n)

        def close(self) -> None:
            return None

        refresh = update_transfer = set_transfer_postfix_str = set_postfix_str = (
            lambda self, *_, **__: None
        )

    return cast("Any", Meter)
