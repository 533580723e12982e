"""The engine of deploy: it says, asks, stops where it must, and remembers what is live."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import Run, clean_environment, git, write
from gradio_server import ANSWER, App, event, running

from hackkit.deploy import outgoing
from hackkit.deploy.manifest import (
    DeploymentStatus,
    Deployment,
    Manifest,
    Options,
    DeployRequest,
    OutgoingFile,
    Published,
    RehearsalResult,
    Step,
    Message,
    Progress,
)
from hackkit.deploy.publish import Prompter, carry_out, remember
from hackkit.deploy.targets import Target, all_targets
from hackkit.errors import HackkitError, WrongUseError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system.processes import runner

KEY = "aB3dE6gH" * 4
RING = Deployment(commands=("ring the bell",))


@dataclass
class Shelf:
    """A place that takes deliveries, and what came of them."""

    writes: tuple[OutgoingFile, ...] = ()
    live: Deployment = RING
    shipped: list[list[str]] = field(default_factory=list)

    def plan(self, request: DeployRequest) -> Manifest:
        files = outgoing.together(outgoing.tracked_files(request.context), self.writes)
        return Manifest(
            target="shelf",
            files=files,
            writes=self.writes,
            changes=("puts the app on the shelf",),
            problems=tuple(outgoing.problems(files, request.context, 10)),
        )

    def rehearse(self, _order: DeployRequest, _planned: Manifest, progress: Progress) -> RehearsalResult:
        progress("Trying")
        return RehearsalResult((Step("Trying", 0.1),), Path("log.txt"))

    def deploy(self, _order: DeployRequest, planned: Manifest, progress: Progress) -> Deployment:
        progress("Putting")
        self.shipped.append([each.path for each in planned.files])
        return self.live

    def target(self) -> Target:
        return Target(
            name="shelf",
            title="The shelf",
            summary="A shelf.",
            options=("name",),
            plan=self.plan,
            rehearse=self.rehearse,
            ship=self.ship,
            status=lambda _: DeploymentStatus("on the shelf"),
            logs=None,
            down=lambda _: "the app on the shelf",
        )


@dataclass
class Ear:
    """A user: what they were asked and told, and what they answer."""

    yes: bool = True
    risky: bool = True
    asked: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def agree(self, says: str) -> bool:
        self.asked.append(says)
        return self.yes

    def risk(self, says: str) -> bool:
        self.asked.append(f"{says} (at your risk)")
        return self.yes and self.risky

    def prompter(self) -> Prompter:
        @contextlib.contextmanager
        def progress() -> Iterator[Progress]:
            yield self.told.append

        return Prompter(self.agree, self.risk, self.told.append, progress)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a committed project."""
    root = tmp_path / "app"
    write(root / ".hackkit.yml", "template: rag-app\n")
    write(root / "app.py", "print('hello')\n")
    write(root / "README.md", "---\ntitle: App\n---\n\n# App\n\nWhat it does.\n")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    return root


def order(folder: Path, options: Options | None = None) -> DeployRequest:
    project = ProjectFiles(folder)
    context = Context(folder=folder, project=project, run=runner(clean_environment()))
    return DeployRequest(project, context, options or Options())


def test_a_dry_run_returns_the_manifest_and_ships_nothing(folder: Path) -> None:
    shelf, ear = Shelf(), Ear()
    planned = carry_out("dry-run", shelf.target(), order(folder), ear.prompter())
    assert isinstance(planned, Manifest)
    assert [each.path for each in planned.files] == [".hackkit.yml", "README.md", "app.py"]
    assert (shelf.shipped, ear.asked) == ([], [])


def test_shipping_says_what_it_does_and_asks_first(folder: Path) -> None:
    shelf, ear = Shelf(), Ear()
    published = carry_out("", shelf.target(), order(folder), ear.prompter())
    assert isinstance(published, Published)
    assert ear.asked == ["puts the app on the shelf; send 3 files (0.0 MB)"]
    assert len(shelf.shipped) == 1
    assert published.live.commands == ("ring the bell",)


def test_nothing_leaves_without_consent(folder: Path) -> None:
    shelf = Shelf()
    with pytest.raises(HackkitError, match="Nothing was sent"):
        carry_out("", shelf.target(), order(folder), Ear(yes=False).prompter())
    assert shelf.shipped == []


@pytest.mark.parametrize("mode", ["", "rehearse"])
def test_a_secret_stops_it_before_anything_is_asked(folder: Path, mode: str) -> None:
    write(folder / "app.py", f"MISTRAL_API_KEY = '{KEY}'\n")
    shelf, ear = Shelf(), Ear()
    with pytest.raises(HackkitError, match=r"app.py:1 holds a Mistral API key") as caught:
        carry_out(mode, shelf.target(), order(folder), ear.prompter())
    assert KEY not in str(caught.value)
    assert (shelf.shipped, ear.asked) == ([], [])


def test_several_objections_are_told_at_once(folder: Path) -> None:
    for name in ("a.py", "b.py"):
        write(folder / name, f"MISTRAL_API_KEY = '{KEY}'\n")
    git(folder, "add", "--all")
    with pytest.raises(HackkitError, match=r"(?s)a.py:1.*b.py:1"):
        carry_out("", Shelf().target(), order(folder), Ear().prompter())


def test_a_file_that_the_target_needs_is_written_once(folder: Path) -> None:
    shelf, ear = Shelf(writes=(outgoing.made("shelf.toml", "size = 1\n"),)), Ear()
    carry_out("", shelf.target(), order(folder), ear.prompter())
    assert (folder / "shelf.toml").read_text("utf-8") == "size = 1\n"
    assert any("shelf.toml was written" in told for told in ear.told)
    again = Ear()
    carry_out("", shelf.target(), order(folder), again.prompter())
    assert not any("shelf.toml" in told for told in again.told)


def test_the_teams_own_version_is_shown_beside_ours_and_stays(folder: Path) -> None:
    write(folder / "shelf.toml", "size = 2\n")
    shelf = Shelf(writes=(outgoing.made("shelf.toml", "size = 1\n"),))
    ear = Ear(risky=False)
    carry_out("", shelf.target(), order(folder), ear.prompter())
    assert "-size = 2\n+size = 1" in "\n".join(ear.told)
    assert "overwrite your shelf.toml (at your risk)" in ear.asked
    assert (folder / "shelf.toml").read_text("utf-8") == "size = 2\n"
    assert len(shelf.shipped) == 1


def test_nothing_is_written_without_consent(folder: Path) -> None:
    shelf, ear = Shelf(writes=(outgoing.made("shelf.toml", "size = 1\n"),)), Ear(yes=False)
    with pytest.raises(HackkitError, match="Nothing was sent"):
        carry_out("", shelf.target(), order(folder), ear.prompter())
    assert ear.asked[0].startswith("write shelf.toml; puts the app on the shelf; send")
    assert not (folder / "shelf.toml").exists()


def test_an_option_that_the_target_does_not_know_is_refused(folder: Path) -> None:
    wanted = order(folder, Options(space="ada/app"))
    with pytest.raises(
        WrongUseError, match="--space is not an option of shelf, which takes --name"
    ) as caught:
        carry_out("dry-run", Shelf().target(), wanted, Ear().prompter())
    assert caught.value.fix.endswith("hackkit deploy shelf --dry-run")


def test_a_rehearsal_asks_nothing_and_ships_nothing(folder: Path) -> None:
    shelf, ear = Shelf(), Ear()
    rehearsed = carry_out("rehearse", shelf.target(), order(folder), ear.prompter())
    assert isinstance(rehearsed, RehearsalResult)
    assert (shelf.shipped, ear.asked, ear.told) == ([], [], ["Trying"])


def test_status_is_told_and_taking_it_away_asks_first(folder: Path) -> None:
    target = Shelf().target()
    assert carry_out("status", target, order(folder), Ear().prompter()) == DeploymentStatus("on the shelf")
    ear = Ear()
    gone = carry_out("down", target, order(folder), ear.prompter())
    assert gone == Message("Taken away: the app on the shelf.")
    assert ear.asked == ["take the app away (The shelf) (at your risk)"]


def test_what_the_platform_does_not_allow_is_wrong_use_and_its_fix_ships_nothing(
    folder: Path,
) -> None:
    with pytest.raises(WrongUseError, match="cannot do --logs for The shelf") as caught:
        carry_out("logs", Shelf().target(), order(folder), Ear().prompter())
    assert caught.value.fix.endswith("hackkit deploy shelf --dry-run")


def shown_live(folder: Path, app: App, token: str = "") -> Published:
    """Ship an app that runs somewhere, and return what became of it."""
    with running(app):
        shelf = Shelf(live=Deployment(app.address, token=token))
        published = carry_out("", shelf.target(), order(folder), Ear().prompter())
    assert isinstance(published, Published)
    return published


def test_what_is_live_is_asked_one_question_and_remembered(folder: Path) -> None:
    app = App()
    published = shown_live(folder, app)
    assert (published.answer, app.asked) == (ANSWER["answer"], [published.asked])
    assert f"Deployment demo: <{app.address}>" in (folder / "README.md").read_text("utf-8")


def test_what_is_up_and_does_not_answer_is_not_well_and_not_remembered(folder: Path) -> None:
    published = shown_live(folder, App(stream=event("error", None)))
    assert published.doubt
    assert published.fix.endswith("hackkit deploy shelf --status")
    assert not published.well
    assert "Deployment demo" not in (folder / "README.md").read_text("utf-8")


def test_a_private_address_is_asked_with_its_token_and_kept_out_of_the_readme(folder: Path) -> None:
    published = shown_live(folder, App(token=KEY), token=KEY)
    assert published.well
    assert KEY not in repr(published)
    assert "Deployment demo" not in (folder / "README.md").read_text("utf-8")


def test_the_address_goes_below_the_title_of_the_readme(folder: Path) -> None:
    assert remember(folder, "https://ada-app.example")
    text = (folder / "README.md").read_text("utf-8")
    assert "# App\n\nLive demo: <https://ada-app.example>\n\nWhat it does.\n" in text


def test_a_new_address_takes_the_place_of_the_old_one(folder: Path) -> None:
    remember(folder, "https://old.example")
    assert remember(folder, "https://new.example")
    text = (folder / "README.md").read_text("utf-8")
    assert text.count("Deployment demo:") == 1
    assert "old.example" not in text


def test_the_same_address_changes_nothing(folder: Path) -> None:
    remember(folder, "https://same.example")
    assert not remember(folder, "https://same.example")


def test_a_readme_without_a_title_is_left_alone(folder: Path) -> None:
    write(folder / "README.md", "no title\n")
    assert not remember(folder, "https://ada-app.example")
    assert (folder / "README.md").read_text("utf-8") == "no title\n"


def test_every_target_has_what_the_registry_asks_for() -> None:
    known = {each for each in Options.__dataclass_fields__ if each != "yes"}
    for each in all_targets():
        assert each.summary.endswith("."), each.name
        assert set(each.options) <= known, each.name


def test_a_new_file_in_targets_is_enough_to_add_a_target(checkout: Path, tmp_path: Path) -> None:
    write(
        checkout / "src" / "hackkit" / "deploy" / "targets" / "attic.py",
        '"""Puts the app into the attic."""\n'
        'TITLE, OPTIONS = "The attic", ()\n'
        "plan = rehearse = ship = None\n",
    )
    result = subprocess.run(
        [sys.executable, "-m", "hackkit", "deploy", "--list", "--json"],
        env={**clean_environment(), "PYTHONPATH": str(checkout / "src")},
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    targets = {each["name"]: each["summary"] for each in json.loads(result.stdout)}
    assert targets["attic"] == "Puts the app into the attic."


def test_an_unknown_target_lists_the_known_ones(hackkit: Run) -> None:
    result = hackkit("deploy", "sapces")
    assert result.returncode == 2
    assert 'no target "sapces". Targets: ' in result.stderr


def test_outside_a_project_it_is_wrong_use(hackkit: Run) -> None:
    result = hackkit("deploy", "spaces", "--dry-run")
    assert result.returncode == 2
    assert "belongs to no hackkit project" in result.stderr


def test_a_folder_that_is_not_there_is_said_to_be_missing(hackkit: Run) -> None:
    result = hackkit("deploy", "spaces", "nowhere", "--dry-run")
    assert result.returncode == 2
    assert "There is no folder nowhere." in result.stderr


def test_without_a_terminal_it_needs_yes(hackkit: Run, folder: Path) -> None:
    write(folder / "Dockerfile", "FROM scratch\nUSER app\n")
    write(folder / "render.yaml", "")
    result = hackkit("deploy", "render", folder)
    assert result.returncode == 2
    assert "nobody is there to ask" in result.stderr
    assert "--yes" in result.stderr.splitlines()[-1]


def test_two_wishes_at_once_are_refused(hackkit: Run) -> None:
    result = hackkit("deploy", "spaces", "--dry-run", "--rehearse")
    assert result.returncode == 2
    assert "--dry-run and --rehearse do not go together" in result.stderr
