"""serve --reload: real processes, whose source files change."""

from __future__ import annotations

import pathlib

import pytest
from kit.programs.command import APPLICATION, DEADLINE, ask, serving


def test_reload_takes_up_changes_and_survives_mistakes(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "site_app.py"
    with serving(tmp_path, "--reload") as served:
        assert ask(served.uri(), "which") == "first"
        source.write_text(APPLICATION.replace('"first"', '"the second"'))
        served.wait()
        assert ask(served.uri(), "which") == "the second"
        source.write_text(APPLICATION + "def unfinished(")
        served.output.until(rb"SyntaxError")
        source.write_text(APPLICATION.replace('"first"', '"the third one"'))
        served.wait()
        assert ask(served.uri(), "which") == "the third one"
        served.process.terminate()
        assert served.process.wait(DEADLINE) == 0


@pytest.mark.parametrize(
    ("mistake", "why"),
    [
        (APPLICATION.replace("def application", "def app"), rb"site_app has no 'application'; "),
        (APPLICATION + "application = None\n", rb"site_app is NoneType, not a WSGI application\n"),
        ("import sys\nsys.exit(3)\n", rb"SystemExit: 3\n"),
    ],
)
def test_reload_survives_what_would_end_the_program(tmp_path: pathlib.Path, mistake: str, why: bytes) -> None:
    with serving(tmp_path, "--reload") as served:
        (tmp_path / "site_app.py").write_text(mistake)
        served.output.until(why)
        (tmp_path / "site_app.py").write_text(APPLICATION)
        served.wait()
        assert ask(served.uri(), "which") == "first"


@pytest.mark.parametrize("later", ["later_mod.py", "later_mod/__init__.py"])
def test_reload_takes_up_a_module_that_was_missing(tmp_path: pathlib.Path, later: str) -> None:
    with serving(tmp_path, "--reload") as served:
        (tmp_path / "site_app.py").write_text(
            "from later_mod import ANSWER\n" + APPLICATION.replace('"first"', "ANSWER")
        )
        served.output.until(rb"No module named 'later_mod'\n")
        (tmp_path / later).parent.mkdir(exist_ok=True)
        (tmp_path / later).write_text('ANSWER = "late"\n')
        served.wait()
        assert ask(served.uri(), "which") == "late"
