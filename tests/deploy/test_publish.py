"""deploy asks before it sends, stops at problems, tests the app, and links it in the README."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import Run, clean_environment, git, write
from gradio_server import ANSWER, App, event, running

from hackkit.deploy import outgoing
from hackkit.deploy.manifest import (
    Deployment,
    DeploymentStatus,
    DeployRequest,
    Manifest,
    Message,
    Options,
    OutgoingFile,
    Progress,
    Published,
    RehearsalResult,
    Step,
)
from hackkit.deploy.publish import Prompter, carry_out, link_in_readme
from hackkit.deploy.targets import Target, all_targets
from hackkit.errors import HackkitError, WrongUseError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system.processes import runner

KEY = "aB3dE6gH" * 4
ON_SHELF = DeploymentStatus("on the shelf")
BELL = Deployment(commands=("ring the bell",))


@dataclass
class Shelf:
    """A made-up target that records its uploads."""

    writes: tuple[OutgoingFile, ...] = ()
    deployment: Deployment = BELL
    uploads: list[list[str]] = field(default_factory=list)

    def plan(self, request: DeployRequest) -> Manifest:
        files = outgoing.merged(outgoing.tracked_files(request.context), self.writes)
        return Manifest(
            target="shelf",
            files=files,
            writes=self.writes,
            changes=("put the app on the shelf",),
            problems=tuple(outgoing.problems(files, request.context, 10)),
        )

    def rehearse(
        self, _request: DeployRequest, _manifest: Manifest, progress: Progress
    ) -> RehearsalResult:
        progress("Trying")
        return RehearsalResult((Step("Trying", 0.1),), Path("log.txt"))

    def deploy(self, _request: DeployRequest, planned: Manifest, progress: Progress) -> Deployment:
        progress("Deploying")
        self.uploads.append([each.path for each in planned.files])
        return self.deployment

    def target(self) -> Target:
        return Target(
            name="shelf",
            title="The shelf",
            summary="A shelf.",
            options=("name",),
            plan=self.plan,
            rehearse=self.rehearse,
            deploy=self.deploy,
            status=lambda _: ON_SHELF,
            logs=None,
            down=lambda _: "the app on the shelf",
        )


@dataclass
class User:
    """A user: the questions and messages that they saw, and their answers."""

    yes: bool = True
    accepts_loss: bool = True
    asked: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def confirm(self, action: str) -> bool:
        self.asked.append(action)
        return self.yes

    def confirm_loss(self, action: str) -> bool:
        self.asked.append(f"{action} (loss)")
        return self.yes and self.accepts_loss

    def prompter(self) -> Prompter:
        @contextlib.contextmanager
        def progress() -> Iterator[Progress]:
            yield self.messages.append

        return Prompter(self.confirm, self.confirm_loss, self.messages.append, progress)


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


def requested(folder: Path, options: Options | None = None) -> DeployRequest:
    project = ProjectFiles(folder)
    context = Context(folder=folder, project=project, run=runner(clean_environment()))
    return DeployRequest(project, context, options or Options())


def test_a_dry_run_returns_the_manifest_and_sends_nothing(folder: Path) -> None:
    shelf, user = Shelf(), User()
    planned = carry_out("dry-run", shelf.target(), requested(folder), user.prompter())
    assert isinstance(planned, Manifest)
    assert [each.path for each in planned.files] == [".hackkit.yml", "README.md", "app.py"]
    assert (shelf.uploads, user.asked) == ([], [])


def test_deploying_asks_with_all_actions_first(folder: Path) -> None:
    shelf, user = Shelf(), User()
    published = carry_out("", shelf.target(), requested(folder), user.prompter())
    assert isinstance(published, Published)
    assert user.asked == ["put the app on the shelf; send 3 files (0.0 MB)"]
    assert len(shelf.uploads) == 1
    assert published.deployment.commands == ("ring the bell",)


def test_nothing_is_sent_without_consent(folder: Path) -> None:
    shelf = Shelf()
    with pytest.raises(HackkitError, match="Nothing was sent"):
        carry_out("", shelf.target(), requested(folder), User(yes=False).prompter())
    assert shelf.uploads == []


@pytest.mark.parametrize("mode", ["", "rehearse"])
def test_a_secret_stops_it_before_anything_is_asked(folder: Path, mode: str) -> None:
    write(folder / "app.py", f"MISTRAL_API_KEY = '{KEY}'\n")
    shelf, user = Shelf(), User()
    with pytest.raises(HackkitError, match=r"app.py:1 contains a Mistral API key") as caught:
        carry_out(mode, shelf.target(), requested(folder), user.prompter())
    assert KEY not in str(caught.value)
    assert (shelf.uploads, user.asked) == ([], [])


def test_several_problems_are_reported_together(folder: Path) -> None:
    for name in ("a.py", "b.py"):
        write(folder / name, f"MISTRAL_API_KEY = '{KEY}'\n")
    git(folder, "add", "--all")
    with pytest.raises(HackkitError, match=r"(?s)a.py:1.*b.py:1"):
        carry_out("", Shelf().target(), requested(folder), User().prompter())


def test_a_file_that_the_target_needs_is_written_once(folder: Path) -> None:
    shelf, user = Shelf(writes=(outgoing.generated("shelf.toml", "size = 1\n"),)), User()
    carry_out("", shelf.target(), requested(folder), user.prompter())
    assert (folder / "shelf.toml").read_text("utf-8") == "size = 1\n"
    assert any("shelf.toml was written" in message for message in user.messages)
    again = User()
    carry_out("", shelf.target(), requested(folder), again.prompter())
    assert not any("shelf.toml" in message for message in again.messages)


def test_the_teams_own_version_is_compared_with_ours_and_stays(folder: Path) -> None:
    write(folder / "shelf.toml", "size = 2\n")
    shelf = Shelf(writes=(outgoing.generated("shelf.toml", "size = 1\n"),))
    user = User(accepts_loss=False)
    carry_out("", shelf.target(), requested(folder), user.prompter())
    assert "-size = 2\n+size = 1" in "\n".join(user.messages)
    assert "overwrite your shelf.toml (loss)" in user.asked
    assert (folder / "shelf.toml").read_text("utf-8") == "size = 2\n"
    assert len(shelf.uploads) == 1


def test_nothing_is_written_without_consent(folder: Path) -> None:
    shelf, user = Shelf(writes=(outgoing.generated("shelf.toml", "size = 1\n"),)), User(yes=False)
    with pytest.raises(HackkitError, match="Nothing was sent"):
        carry_out("", shelf.target(), requested(folder), user.prompter())
    assert user.asked[0].startswith("write shelf.toml; put the app on the shelf; send")
    assert not (folder / "shelf.toml").exists()


def test_an_option_that_the_target_does_not_take_is_refused(folder: Path) -> None:
    wanted = requested(folder, Options(space="ada/app"))
    with pytest.raises(
        WrongUseError, match="--space is not an option of shelf, which takes --name"
    ) as caught:
        carry_out("dry-run", Shelf().target(), wanted, User().prompter())
    assert caught.value.fix.endswith("hackkit deploy shelf --dry-run")


def test_a_rehearsal_asks_nothing_and_sends_nothing(folder: Path) -> None:
    shelf, user = Shelf(), User()
    rehearsed = carry_out("rehearse", shelf.target(), requested(folder), user.prompter())
    assert isinstance(rehearsed, RehearsalResult)
    assert (shelf.uploads, user.asked, user.messages) == ([], [], ["Trying"])


def test_status_is_returned_and_removing_asks_first(folder: Path) -> None:
    target = Shelf().target()
    assert carry_out("status", target, requested(folder), User().prompter()) == DeploymentStatus(
        "on the shelf"
    )
    user = User()
    gone = carry_out("down", target, requested(folder), user.prompter())
    assert gone == Message("Removed: the app on the shelf.")
    assert user.asked == ["remove the app (The shelf) (loss)"]


def test_a_missing_mode_is_wrong_use_and_its_fix_sends_nothing(
    folder: Path,
) -> None:
    with pytest.raises(WrongUseError, match="--logs is not available for The shelf") as caught:
        carry_out("logs", Shelf().target(), requested(folder), User().prompter())
    assert caught.value.fix.endswith("hackkit deploy shelf --dry-run")


def deployed(folder: Path, app: App, token: str = "") -> Published:
    """Deploy to an app that runs already, and return the result."""
    with running(app):
        shelf = Shelf(deployment=Deployment(app.address, token=token))
        published = carry_out("", shelf.target(), requested(folder), User().prompter())
    assert isinstance(published, Published)
    return published


def test_the_deployed_app_is_asked_one_question_and_linked(folder: Path) -> None:
    app = App()
    published = deployed(folder, app)
    assert (published.answer, app.asked) == (ANSWER["answer"], [published.question])
    assert published.note == "not a question of the app: it suggests none"
    assert f"Live demo: <{app.address}>" in (folder / "README.md").read_text("utf-8")


def test_an_app_that_does_not_answer_is_not_ok_and_not_linked(folder: Path) -> None:
    published = deployed(folder, App(stream=event("error", None)))
    assert published.explanation
    assert published.explanation.fix.endswith("hackkit deploy shelf --status")
    assert not published.ok
    assert "Live demo" not in (folder / "README.md").read_text("utf-8")


def test_a_private_address_is_asked_with_its_token_and_kept_out_of_the_readme(folder: Path) -> None:
    published = deployed(folder, App(token=KEY), token=KEY)
    assert published.ok
    assert KEY not in repr(published)
    assert "Live demo" not in (folder / "README.md").read_text("utf-8")


def test_the_address_goes_below_the_title_of_the_readme(folder: Path) -> None:
    assert link_in_readme(folder, "https://ada-app.example")
    text = (folder / "README.md").read_text("utf-8")
    assert "# App\n\nLive demo: <https://ada-app.example>\n\nWhat it does.\n" in text


def test_a_new_address_replaces_the_old_one(folder: Path) -> None:
    link_in_readme(folder, "https://old.example")
    assert link_in_readme(folder, "https://new.example")
    text = (folder / "README.md").read_text("utf-8")
    assert text.count("Live demo:") == 1
    assert "old.example" not in text


def test_the_same_address_changes_nothing(folder: Path) -> None:
    link_in_readme(folder, "https://same.example")
    assert not link_in_readme(folder, "https://same.example")


def test_a_readme_without_a_title_is_left_alone(folder: Path) -> None:
    write(folder / "README.md", "no title\n")
    assert not link_in_readme(folder, "https://ada-app.example")
    assert (folder / "README.md").read_text("utf-8") == "no title\n"


def test_every_target_has_a_summary_and_known_options() -> None:
    known = {each for each in Options.__dataclass_fields__ if each != "yes"}
    for each in all_targets():
        assert each.summary.endswith("."), each.name
        assert set(each.options) <= known, each.name


def test_an_unknown_target_lists_the_known_ones(hackkit: Run) -> None:
    result = hackkit("deploy", "sapces")
    assert result.returncode == 2
    assert 'no target "sapces". Targets: ' in result.stderr


def test_outside_a_project_it_is_wrong_use(hackkit: Run) -> None:
    result = hackkit("deploy", "spaces", "--dry-run")
    assert result.returncode == 2
    assert "is not in a hackkit project" in result.stderr


def test_a_missing_folder_is_reported(hackkit: Run) -> None:
    result = hackkit("deploy", "spaces", "nowhere", "--dry-run")
    assert result.returncode == 2
    assert "There is no folder nowhere." in result.stderr


def test_without_a_terminal_it_needs_yes(hackkit: Run, folder: Path) -> None:
    write(folder / "Dockerfile", "FROM scratch\nUSER app\n")
    write(folder / "render.yaml", "")
    result = hackkit("deploy", "render", folder)
    assert result.returncode == 2
    assert "Without a terminal it needs --yes" in result.stderr
    assert "--yes" in result.stderr.splitlines()[-1]


def test_two_modes_are_refused(hackkit: Run) -> None:
    result = hackkit("deploy", "spaces", "--dry-run", "--rehearse")
    assert result.returncode == 2
    assert "--dry-run and --rehearse do not go together" in result.stderr
