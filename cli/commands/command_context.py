"""What all commands share: their options, where the service is, and how errors end."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from cli.commands.exit_codes import ExitCode
from cli.display.output import JsonOutput, Output, TextOutput
from cli.display.translations import Language, Words
from cli.service_client import ServiceClient, Target
from config import Settings, load_settings
from domain.messages import english
from errors import (
    ConfigurationError,
    HistoryError,
    ImportServiceError,
    ServiceRefusedError,
    ServiceUnreachableError,
)
from history import data_dir_owner

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""A service that listens on every address is reached at this one."""
_SHARED_OPTIONS = {"--url": True, "--key-file": True, "--json": False, "--lang": True}
"""Whether a value follows."""


@dataclass(frozen=True)
class SharedOptions:
    """The options that every command has."""

    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="DICOM_IMPORT_URL",
            help="服务地址，默认按设置 HOST:PORT · URL of the service",
            show_default=False,
        ),
    ] = None
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            help="内含密钥的文件，默认用设置 SERVICE_API_KEY · file that holds the service key",
            show_default=False,
        ),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="每行一个 JSON 对象 · lines of JSON", show_default=False)] = (
        False
    )
    language: Annotated[Language, typer.Option("--lang", envvar="DICOM_IMPORT_LANG", help="界面语言 · language")] = (
        Language.ZH
    )


class CommandContext:
    """One run of a command."""

    def __init__(self, options: SharedOptions) -> None:
        self._options = options
        self.words = Words(options.language)
        self.screen: Output = JsonOutput(self.words) if options.as_json else TextOutput(self.words)

    @cached_property
    def settings(self) -> Settings:
        """Raises ConfigurationError."""
        return load_settings()

    @cached_property
    def target(self) -> Target:
        """Where the service is, and its key. Other users can see arguments, so the key is never one."""
        url, key_file = self._options.url, self._options.key_file
        if url is not None and not url.startswith(("http://", "https://")):
            raise typer.BadParameter("必须以 http:// 或 https:// 开头", param_hint="--url")
        key = self.settings.service_api_key
        secret = key.get_secret_value() if key else None
        if key_file is not None:
            try:
                secret = key_file.read_text("utf-8").strip()
            except (OSError, UnicodeError) as error:
                raise ConfigurationError(f"--key-file 无法读取：{key_file}（{type(error).__name__}）") from error
        address = url.rstrip("/") if url else _default_url(self.settings)
        return Target(address, secret, chosen=url is not None, language=self._options.language.value)

    @contextmanager
    def service(self) -> Iterator[ServiceClient]:
        """A client of the service; nothing is sent yet."""
        with ServiceClient.open(self.target) as client:
            yield client

    def run(self, work: Callable[[], ExitCode]) -> ExitCode:
        """Does the work. Errors become words and an exit code."""
        try:
            return work()
        except ServiceUnreachableError as error:
            self.screen.problem(error.code, self._unreachable_words(error.detail), ExitCode.ERROR)
        except ImportServiceError as error:
            code = error.problem if isinstance(error, ServiceRefusedError) else error.code
            self.screen.problem(code, self.words(error.detail, english(error.detail)), ExitCode.ERROR)
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
            return none + words(error.detail, english(error.detail))
        if owner is not None:
            return none + words(
                f"数据文件夹正由另一个进程使用{owner}：服务可能在别的端口上，请用 --url 给出它的地址；或者它正在启动",
                f"Process {owner.pid} uses DATA_DIR: name the address of its service with --url, or wait: it may be "
                "starting",
            )
        return none + words(
            "请先启动服务：python main.py；服务在别处时用 --url 给出它的地址",
            "Start the service first: python main.py; if it runs elsewhere, name its address with --url",
        )


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., ExitCode]], Callable[..., ExitCode]]:
    """Registers ``work(context, ...)`` as a command, with the shared options behind its own.

    A parameter whose type is a dataclass becomes one option per field.
    """

    def register(work: Callable[..., ExitCode]) -> Callable[..., ExitCode]:
        own = list(inspect.signature(work, eval_str=True).parameters.values())[1:]
        groups = {each.name: each.annotation for each in own if is_dataclass(each.annotation)}

        def run(**given: Any) -> None:
            context = CommandContext(_taken(SharedOptions, given))
            given |= {name: _taken(options, given) for name, options in groups.items()}
            raise typer.Exit(context.run(lambda: work(context, **given)))

        parameters = [each for each in own if each.name not in groups]
        for options in (*groups.values(), SharedOptions):
            parameters += _parameters(options)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__doc__ = work.__doc__
        app.command(name)(run)
        return work

    return register


def _taken(options: Any, given: dict[str, Any]) -> Any:
    """The dataclass, made of its values, which are removed from ``given``."""
    return options(**{field.name: given.pop(field.name) for field in fields(options)})


def _parameters(options: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(options, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(options)
    ]


def command_first(arguments: list[str]) -> list[str]:
    """Moves shared options in front of the command's name (``cli --lang en doctor``) behind it."""
    begin = 0
    while begin < len(arguments) and (name := arguments[begin].partition("=")[0]) in _SHARED_OPTIONS:
        begin += 2 if _SHARED_OPTIONS[name] and "=" not in arguments[begin] else 1
    return [*arguments[begin : begin + 1], *arguments[:begin], *arguments[begin + 1 :]]


def _default_url(settings: Settings) -> str:
    """Where the service of these settings is reached from this machine."""
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
