"""What all commands have in common: the shared options, where the service is, and how errors end."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands.exit_codes import ExitCode
from cli.display.output import JsonOutput, Output, TextOutput
from cli.display.translations import Language, Words
from cli.service_client import ServiceClient, Target
from config import Settings, load_settings
from errors import (
    ConfigurationError,
    HistoryError,
    ImportServiceError,
    ServiceRefusedError,
    ServiceUnreachableError,
)
from history import data_dir_owner

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""Where a service listens on every address, it is reached by this one."""

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="DICOM_IMPORT_URL",
        help="服务地址，默认按设置 HOST:PORT · URL of the service",
        show_default=False,
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        help="内含密钥的文件，默认用设置 SERVICE_API_KEY · file that holds the service key",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="每行一个 JSON 对象 · lines of JSON", show_default=False)]
LanguageOption = Annotated[
    Language,
    typer.Option("--lang", envvar="DICOM_IMPORT_LANG", help="界面语言 · language"),
]


@dataclass(frozen=True)
class SharedOptions:
    """The options that every command has."""

    url: str | None
    key_file: Path | None
    as_json: bool
    language: Language


_SHARED = [
    inspect.Parameter("url", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=UrlOption),
    inspect.Parameter("key_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=KeyFileOption),
    inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption),
    inspect.Parameter("language", inspect.Parameter.KEYWORD_ONLY, default=Language.ZH, annotation=LanguageOption),
]


class CommandContext:
    """One command's run."""

    def __init__(self, options: SharedOptions) -> None:
        self._options = options
        words = Words(options.language)
        self.screen: Output = JsonOutput(words) if options.as_json else TextOutput(words)
        self.words = words

    @cached_property
    def settings(self) -> Settings:
        """Raises ConfigurationError."""
        return load_settings()

    @cached_property
    def target(self) -> Target:
        """Where the service is, and the key; the key never comes from the command line, which others can see."""
        key = self.settings.service_api_key
        secret = key.get_secret_value() if key else None
        if self._options.key_file is not None:
            secret = _key_in(self._options.key_file)
        url = self._options.url
        return Target(_checked(url) if url else default_url(self.settings), secret, chosen=url is not None)

    @contextmanager
    def service(self) -> Iterator[ServiceClient]:
        """The running service; the first question finds out whether it is there."""
        with ServiceClient.open(self.target) as client:
            yield client

    def run(self, work: Callable[[], ExitCode]) -> ExitCode:
        """Does the work; errors become words and an exit code."""
        try:
            return work()
        except ServiceUnreachableError as error:
            self.screen.problem(error.code, self._unreachable_words(error.detail), ExitCode.ERROR)
        except ImportServiceError as error:
            code = error.problem if isinstance(error, ServiceRefusedError) else error.code
            self.screen.problem(code, error.detail, ExitCode.ERROR)
        except KeyboardInterrupt:
            return ExitCode.CANCELLED
        return ExitCode.ERROR

    def _unreachable_words(self, where: str) -> str:
        words = self.words
        none = words(f"没有服务应答：{where}。", f"No service answers: {where}. ")
        if self.target.chosen:
            return none + words(
                "请确认那里的服务已启动，或更正 --url", "Make sure that it runs there, or correct --url"
            )
        try:
            owner = data_dir_owner(self.settings.data_dir)
        except HistoryError as error:
            return none + error.detail
        if owner is not None:
            return none + words(
                f"数据文件夹正由另一个进程使用{owner}：服务可能在别的端口上，请用 --url 给出它的地址；或者它正在启动",
                f"Process {owner.pid} uses DATA_DIR: name the address of its service with --url, "
                "or wait: it may be starting",
            )
        return none + words(
            "请先启动服务：python main.py；服务在别处时用 --url 给出它的地址",
            "Start the service first: python main.py; if it runs elsewhere, name its address with --url",
        )


def command_first(arguments: list[str]) -> list[str]:
    """Shared options may also stand in front (``cli --lang en doctor``): they are moved behind the command's name."""
    begin = 0
    while begin < len(arguments) and arguments[begin].partition("=")[0] in _TAKES_VALUE:
        begin += 2 if _TAKES_VALUE[arguments[begin].partition("=")[0]] and "=" not in arguments[begin] else 1
    return [*arguments[begin : begin + 1], *arguments[:begin], *arguments[begin + 1 :]]


_TAKES_VALUE = {"--url": True, "--key-file": True, "--json": False, "--lang": True}


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., ExitCode]], Callable[..., ExitCode]]:
    """Registers ``work(session, ...)`` as a command that has the shared options beside its own."""

    def register(work: Callable[..., ExitCode]) -> Callable[..., ExitCode]:
        own = list(inspect.signature(work, eval_str=True).parameters.values())[1:]

        def run(**given: Any) -> None:
            shared = SharedOptions(**{parameter.name: given.pop(parameter.name) for parameter in _SHARED})
            session = CommandContext(shared)
            raise typer.Exit(session.run(lambda: work(session, **given)))

        run.__signature__ = inspect.Signature([*own, *_SHARED])  # type: ignore[attr-defined]
        run.__doc__ = work.__doc__
        app.command(name)(run)
        return work

    return register


def default_url(settings: Settings) -> str:
    """Where the service of these settings is reached from this machine."""
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter("必须以 http:// 或 https:// 开头", param_hint="--url")
    return url.rstrip("/")


def _key_in(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"--key-file 无法读取：{os.fspath(path)}（{type(error).__name__}）") from error
