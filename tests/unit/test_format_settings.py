"""OUTPUT_FORMAT, IMAGE_EXTENSIONS and BACKEND_URL as they are read from the environment."""

from __future__ import annotations

import pytest

from config import Settings, load_settings
from errors import ConfigurationError
from importing.settings_mapping import render_options
from models import ImportOptions


def load(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return load_settings(None)


def test_pictures_are_jpg_and_sources_dicom_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, OUTPUT_FORMAT="", IMAGE_EXTENSIONS="")
    assert settings.image_extensions == ()
    assert render_options(settings, ImportOptions()).output_format == "jpg"


def test_png_reaches_the_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, OUTPUT_FORMAT="png")
    assert render_options(settings, ImportOptions()).output_format == "png"


@pytest.mark.parametrize("written", ["png,jpg", "PNG, JPG", ".png,.jpg,png", "png,,jpg,"])
def test_extensions_are_taken_however_they_are_written(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    assert load(monkeypatch, IMAGE_EXTENSIONS=written).image_extensions == ("png", "jpg")


@pytest.mark.parametrize("written", ["gif", "png,dcm", "png;jpg", "*"])
def test_other_extensions_are_refused_in_chinese(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    with pytest.raises(ConfigurationError, match="IMAGE_EXTENSIONS 只能列出 png、jpg、jpeg、tif、tiff、bmp"):
        load(monkeypatch, IMAGE_EXTENSIONS=written)


def test_other_output_formats_are_refused_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="OUTPUT_FORMAT：只能是 'jpg' 或 'png'"):
        load(monkeypatch, OUTPUT_FORMAT="gif")


@pytest.mark.parametrize("written", ["http://xiehe?x=1", "http://xiehe/#/login", "https://xiehe/api/v1?"])
def test_an_address_copied_with_its_query_or_fragment_is_refused(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    with pytest.raises(ConfigurationError, match="BACKEND_URL 只写到地址和路径为止"):
        load(monkeypatch, BACKEND_URL=written)


@pytest.mark.parametrize(
    "url", ["http://xiehe:abc", "http://xiehe:99999", "http://xiehe:0", "http:///x", "http://[::1"]
)
def test_a_backend_url_that_leads_nowhere_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(ConfigurationError, match="BACKEND_URL 的主机名或端口无效"):
        load(monkeypatch, BACKEND_URL=url)


@pytest.mark.parametrize("url", ["http://[::1]:8000", "http://医院.local", "http://xie_he:80", "https://a/b"])
def test_unusual_backend_urls_are_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert load(monkeypatch, BACKEND_URL=url).backend_url == url
