"""``turnwire ask`` in this process: what it is asked, the conversations that it keeps, and what it says of wrong use.

The server runs in a thread. What needs a process of its own is in ``test_cli.py``.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from turnwire.aio.cli import _output, _prompt, main
from turnwire.aio.cli._kept import state_directory
from turnwire.aio.cli._masks import mask_credentials, mask_in_json
from turnwire.aio.cli._prompt import Stdin, composed, reads
from turnwire.aio.loopback import LoopbackServer
from turnwire.sansio.errors import UserError

KEY = "sk-do-not-tell"
posix = pytest.mark.skipif(sys.platform == "win32", reason="modes of files, /dev/full")


class Here:
    """The command line in this process: exit status, stdout, stderr."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: Path) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.conversations = state / "turnwire" / "conversations"
        monkeypatch.setenv("XDG_STATE_HOME", str(state))
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setattr(sys, "stdin", None)

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> tuple[int, str, str]:
        if stdin is not None:
            reader, writer = os.pipe()
            os.write(writer, stdin)
            os.close(writer)
            self._monkeypatch.setattr(sys, "stdin", os.fdopen(reader))
        try:
            status = main(["ask", *arguments])
        except SystemExit as exc:
            status = int(exc.code or 0)
        finally:
            if stdin is not None:
                sys.stdin.close()
                self._monkeypatch.setattr(sys, "stdin", None)
        return (status, *self._capsys.readouterr())


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Here:
    return Here(monkeypatch, capsys, tmp_path)


@pytest.fixture
def url(turnwire_server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_BASE_URL", turnwire_server.base_url)
    return turnwire_server.base_url


# --- The prompt ------------------------------------------------------------------------------------------------------

PIPE, TERMINAL, CLOSED, SOCKET = Stdin(piped=True), Stdin(terminal=True), Stdin(closed=True), Stdin()


@pytest.mark.parametrize(
    ("words", "stdin", "read"),
    [
        ([], PIPE, True),
        ([], SOCKET, True),
        ([], TERMINAL, False),
        ([], CLOSED, False),
        (["-"], TERMINAL, True),
        (["-"], CLOSED, True),
        (["Sum", "up:", "-"], SOCKET, True),
        (["Sum", "up:"], PIPE, True),
        (["5", "-", "3"], TERMINAL, False),
        (["Sum", "up:"], SOCKET, False),
        (["Sum", "up:"], TERMINAL, False),
        (["Sum", "up:"], CLOSED, False),
    ],
)
def test_stdin_is_read_where_somebody_means_it(words: list[str], stdin: Stdin, read: bool) -> None:
    assert reads(words, stdin) is read


@pytest.mark.parametrize(
    ("words", "piped", "prompt"),
    [
        (["What", "is", "it?"], None, "What is it?"),
        ([], b"\xef\xbb\xbfa question\r\n", "a question"),
        (["-"], b"a\n\nb\n\n", "a\n\nb"),
        (["Sum up:"], b"text\n", "Sum up:\n\ntext"),
        (["Sum up:", "-"], b"text", "Sum up:\n\ntext"),
        (["Sum up:"], b"\n", "Sum up:"),
    ],
)
def test_the_prompt_is_the_words_and_what_is_piped_in(words: list[str], piped: bytes | None, prompt: str) -> None:
    assert composed(words, piped) == prompt


@pytest.mark.parametrize(
    ("words", "piped", "why"),
    [
        ([], None, "there is no prompt: write it behind the command"),
        ([" "], None, "the prompt is empty"),
        ([], b" \n", "the prompt is empty"),
        (["-"], b"", "the prompt is empty"),
        ([], b"ab\xff", "stdin is not text in UTF-8: byte 2 is 0xff"),
    ],
)
def test_no_prompt_is_refused(words: list[str], piped: bytes | None, why: str) -> None:
    with pytest.raises(UserError, match=why):
        composed(words, piped)


@pytest.mark.usefixtures("url")
def test_a_question_from_stdin_with_and_without_words(ask: Here) -> None:
    assert ask(stdin=b"a question\n") == (0, "a question\n", "")
    assert ask("-", stdin=b"a question\n") == (0, "a question\n", "")
    assert ask("Read", "this:", stdin=b"it\n") == (0, "Read this:\n\nit\n", "")
    assert ask("count 3") == (0, "1 2 3\n", "")


@posix
@pytest.mark.usefixtures("url")
def test_a_pipe_that_nobody_ends_is_told(ask: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that leaves a pipe open for its children sees why nothing happens. It ends it then."""
    reader, writer = os.pipe()
    monkeypatch.setattr(_prompt, "PATIENCE", 0)
    monkeypatch.setattr(_prompt, "problem", lambda command, text: (_output.problem(command, text), os.close(writer)))
    with os.fdopen(reader) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        status, out, errors = ask("hello")
    assert (status, out) == (0, "hello\n")
    assert "waiting for stdin to end" in errors


def test_too_much_on_stdin_is_refused(ask: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_prompt, "LONGEST_PROMPT", 4)
    assert ask("-", stdin=b"12345") == (2, "", "turnwire ask: stdin has more than 0 MiB\n")


def test_a_stdin_that_is_closed_is_told(ask: Here) -> None:
    assert ask("-") == (2, "", "turnwire ask: cannot read stdin: it is closed\n")


def test_ctrl_c_while_it_reads_stdin(ask: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(words: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("turnwire.aio.cli._ask.read_prompt", interrupted)
    assert ask("-") == (130, "", "")


# --- Conversations ---------------------------------------------------------------------------------------------------

POSIX, WINDOWS = PurePosixPath("/users/ada"), PureWindowsPath("C:/Users/ada")


@pytest.mark.parametrize(
    ("environment", "platform", "user", "folder"),
    [
        ({}, "linux", POSIX, "/users/ada/.local/state/turnwire"),
        ({"XDG_STATE_HOME": ""}, "darwin", POSIX, "/users/ada/.local/state/turnwire"),
        ({"XDG_STATE_HOME": "/state"}, "linux", POSIX, "/state/turnwire"),
        ({"XDG_STATE_HOME": "relative"}, "linux", POSIX, "/users/ada/.local/state/turnwire"),
        ({}, "win32", WINDOWS, "C:/Users/ada/AppData/Local/turnwire"),
        ({"LOCALAPPDATA": "D:/Local"}, "win32", WINDOWS, "D:/Local/turnwire"),
    ],
)
def test_the_state_directory(environment: dict[str, str], platform: str, user: PurePosixPath, folder: str) -> None:
    assert state_directory(environment, platform, user).as_posix() == folder


@pytest.mark.usefixtures("url")
def test_a_conversation_goes_on_in_the_next_process(ask: Here, turnwire_server: LoopbackServer) -> None:
    status, out, errors = ask("--continue", "My name is Ada.", "--model", "m-1")
    assert (status, out) == (0, "My name is Ada.\n")
    assert errors.startswith("turnwire ask: no conversation was kept so far; this is the first turn of one: ")
    assert ask("-c", "recall") == (0, "My name is Ada.\n", "")
    bodies = [request.body for request in turnwire_server.requests]
    assert [body["model"] for body in bodies] == ["m-1", "m-1"], "the model is a part of it"
    assert "previous_response_id" not in bodies[0]
    assert bodies[1]["previous_response_id"] == turnwire_server.ledger[0].response_id
    assert ask("-c", "Bye.", "--instructions", "briefly") == (0, "Bye.\n", "")
    assert ask("-c", "Bye.") == (0, "Bye.\n", "")
    assert turnwire_server.requests[-1].body["instructions"] == "briefly", "and so are they, from then on"
    assert ask("--new", "Hello.") == (0, "Hello.\n", "")
    assert ask("-c", "recall") == (0, "Hello.\n", "")
    last = turnwire_server.requests[-1].body
    assert (last["model"], "instructions" in last) == ("gpt-5.4", False)


@pytest.mark.usefixtures("url")
def test_conversations_have_names_and_a_turn_alone_keeps_nothing(ask: Here) -> None:
    ask("Hello.")
    assert not ask.conversations.exists()
    assert ask("--conversation", "a", "One.") == (0, "One.\n", "")
    assert ask("--conversation", "b", "Two.") == (0, "Two.\n", "")
    assert ask("--conversation", "a", "recall") == (0, "One.\n", "")
    assert ask("--new", "--conversation", "a", "Three.") == (0, "Three.\n", "")
    assert ask("--conversation", "a", "recall") == (0, "Three.\n", "")
    assert sorted(path.name for path in ask.conversations.iterdir()) == ["a.json", "b.json"]


@posix
@pytest.mark.usefixtures("url")
def test_only_its_owner_can_read_it_and_no_key_is_in_it(ask: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask("-c", f"my key\n{KEY} is a secret", "--proxy", "none")[0] == 0
    (path,) = ask.conversations.iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    text = path.read_text()
    assert KEY not in text
    assert "my key\\n*** is a secret" in text
    assert "127.0.0.1" not in text
    path.chmod(0o644)
    assert ask("-c", "recall")[0] == 0
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("url")
def test_a_turn_that_does_not_complete_is_no_part_of_it(ask: Here) -> None:
    ask("--new", "One.")
    (path,) = ask.conversations.iterdir()
    before = path.read_bytes()
    status, _, errors = ask("-c", "fail")
    assert (status, errors.count("\n")) == (1, 1)
    assert path.read_bytes() == before
    assert ask("-c", "recall") == (0, "One.\n", "")


@pytest.mark.usefixtures("url")
def test_a_turn_of_another_process_meanwhile_is_not_lost(ask: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    ask("--new", "One.")
    (path,) = ask.conversations.iterdir()
    texts = (path.read_text(), "another's\n")

    def meanwhile(response: object, key: object) -> int:
        path.write_text(texts[1])
        return 0

    monkeypatch.setattr("turnwire.aio.cli._ask._status", meanwhile)
    status, out, errors = ask("-c", "Two.")
    assert (status, out) == (1, "Two.\n")
    assert f"another process changed {path} meanwhile: this turn is not a part of it" in errors
    assert path.read_text() == texts[1]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("garbage", "JSON is malformed"),
        ('{"fields": {}}', "missing required field `conversation`"),
        ('{"fields": {}, "conversation": {}, "version": 7}', "it is a conversation, version 7"),
        ('{"fields": {}, "conversation": {"version": 1}}', "missing required field `history`"),
    ],
)
@pytest.mark.usefixtures("url")
def test_a_file_that_is_no_conversation_is_told_and_can_be_replaced(ask: Here, content: str, why: str) -> None:
    ask.conversations.mkdir(parents=True)
    path = ask.conversations / "default.json"
    path.write_text(content)
    status, out, errors = ask("-c", "Hi")
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"turnwire ask: {path} is no conversation that this version can go on with: ")
    assert why in errors
    assert path.read_text() == content
    assert ask("--new", "Hi") == (0, "Hi\n", "")


@pytest.mark.usefixtures("url")
def test_a_place_that_cannot_be_used_is_told_before_anything_is_sent(
    ask: Here, turnwire_server: LoopbackServer
) -> None:
    ask.conversations.parent.parent.mkdir(exist_ok=True)
    ask.conversations.parent.write_text("a file")
    status, _, errors = ask("-c", "Hi")
    assert (status, errors.count("\n")) == (2, 1)
    assert f"cannot make the folder {ask.conversations}: " in errors
    ask.conversations.parent.unlink()
    (ask.conversations / "default.json").mkdir(parents=True)
    assert "cannot read" in ask("-c", "Hi")[2]
    assert turnwire_server.ledger == []


@pytest.mark.usefixtures("url")
def test_what_readme_shows_works(ask: Here) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    commands = readme.partition("#### From the shell\n\n```bash\n")[2].partition("\n```")[0].splitlines()
    assert len(commands) == 5
    for command in commands:
        words = shlex.split(command, comments=True)
        stdin = b"piped in" if "turnwire" in words[1:] else None
        words = words[words.index("turnwire") + 2 :]
        status, out, errors = ask(*words[: words.index("|") if "|" in words else None], stdin=stdin)
        assert (status, errors) == (0, "")
        assert out
        assert out.endswith("piped in\n") is (stdin is not None)


# --- Wrong use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x", "--stream-id", ""], "argument --stream-id: takes 1 to 256 characters of A-Z a-z 0-9 _ - ."),
        (["x", "--stream-id", "a b"], "argument --stream-id: takes 1 to 256 characters"),
        (["x", "--stream-id", "a" * 257], "argument --stream-id: takes 1 to 256 characters"),
        (["x", "--conversation", "../x"], "argument --conversation: takes 1 to 64 characters"),
        (["x", "--conversation", ".x"], "argument --conversation: takes 1 to 64 characters"),
        (["x", "--model", ""], "argument --model: is empty"),
        (["x", "--previous-response-id", " "], "argument --previous-response-id: is empty"),
        (["x", "--new", "--continue"], "not allowed with argument"),
        (["x", "--continue", "--previous-response-id", "r"], "leave out --previous-response-id"),
        (["x", "--new", "--tool", "t.json"], "leave out --tool"),
        (["x", "--timeout", "1_0"], "argument --timeout: takes seconds"),
        (["x", "--modle", "m"], "unrecognized arguments: --modle m (did you mean --model?)"),
        (["x", "-z"], "unrecognized arguments: -z\n"),
        ([], "there is no prompt: write it behind the command"),
    ],
)
def test_wrong_use_shows_the_usage_of_ask_before_anything_is_opened(
    arguments: list[str], words: str, ask: Here
) -> None:
    status, out, errors = ask("--base-url", "http://127.0.0.1:9/v1", *arguments)
    assert (status, out) == (2, "")
    assert errors.startswith("usage: turnwire ask [-h] ")
    assert errors.splitlines()[-1].startswith("turnwire ask: error: ")
    assert words in errors


@pytest.mark.parametrize("arguments", [[], ["--api-key-env", "NOT_THERE"]])
def test_ask_without_a_key_says_how_to_give_one(
    arguments: list[str], ask: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    status, out, errors = ask("x", *arguments)
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert "there is no API key" in errors
    assert (arguments or ["OPENAI_API_KEY"])[-1] in errors


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("{", "is not JSON"),
        ("[1]", "holds no function tool"),
        ('{"type": "web_search"}', "holds no function tool"),
        ('{"name": 1}', "holds no function tool"),
    ],
)
def test_ask_explains_a_tool_file_that_is_none(content: str | None, words: str, tmp_path: Path, ask: Here) -> None:
    path = tmp_path / "tool.json"
    if content is not None:
        path.write_text(content)
    status, out, errors = ask("x", "--base-url", "http://127.0.0.1:9/v1", "--tool", str(path))
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert str(path) in errors
    assert words in errors


@pytest.mark.parametrize(("content", "words"), [(None, "cannot read"), ("", "holds no certificates in PEM")])
def test_ask_explains_a_file_of_authorities_that_is_none(
    content: str | None, words: str, tmp_path: Path, ask: Here
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    status, out, errors = ask("x", "--base-url", "https://127.0.0.1:9/v1", "--ca", str(path))
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert str(path) in errors
    assert words in errors


@pytest.mark.parametrize("proxy", ["socks4://me:hunter2@p", "p:1", ""])
def test_ask_explains_a_proxy_that_is_none(proxy: str, ask: Here) -> None:
    status, out, errors = ask("x", "--base-url", "http://127.0.0.1:9/v1", "--proxy", proxy)
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert "write http://host:port, https://…, socks5://… or socks5h://host:port" in errors
    assert "hunter2" not in errors


@pytest.mark.parametrize("base_url", ["ftp://127.0.0.1/v1", "nowhere", "http://user:hunter2@[::1"])
def test_ask_explains_a_url_that_is_none(base_url: str, ask: Here) -> None:
    status, out, errors = ask("x", "--base-url", base_url)
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert "base URL" in errors
    assert "hunter2" not in errors


# --- Credentials -----------------------------------------------------------------------------------------------------

LONG = "sk-proj-0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "key", "shown"),
    [
        ("a banana", "a", "a banana"),
        ("the password of a test", "test", "the password of a test"),
        ("keys begin with sk-", "sk-12345", "keys begin with sk-"),
        ("the key sk-12345 is wrong", "sk-12345", "the key *** is wrong"),
        ("'sk-12345', sk-12345.", "sk-12345", "'***', ***."),
        ("sk-123456 and xsk-12345", "sk-12345", "sk-123456 and xsk-12345"),
        (f"token_{LONG}x", LONG, "token_***x"),
        ("a.b+c(d)", "a.b+c(d)", "***"),
        ("aXb+c(d)", "a.b+c(d)", "aXb+c(d)"),
        ("no key", None, "no key"),
    ],
)
def test_a_credential_is_masked_where_it_stands_as_one(text: str, key: str | None, shown: str) -> None:
    assert mask_credentials(text, [key]) == shown
    assert mask_in_json([{"a": text, "n": 1}], [key]) == [{"a": shown, "n": 1}]


def test_a_url_with_a_password_is_refused_in_the_words_of_the_command_line(ask: Here) -> None:
    status, _, errors = ask("x", "--base-url", "http://me:hunter2@127.0.0.1:9/v1")
    assert (status, "hunter2" in errors) == (2, False)
    assert errors.endswith("holds a user name or password: put the key into the variable of --api-key-env\n")


def test_a_short_key_garbles_nothing(ask: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a")
    status, _, errors = ask("a banana", "--base-url", "127.0.0.1:9")
    assert (status, "the base URL has no scheme" in errors, "***" in errors) == (2, True, False)


# --- Stdout ----------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.usefixtures("url")
@pytest.mark.parametrize("arguments", [["ask", "hi"], ["ask", "hi", "--json"], ["serve"], ["--help"], ["--version"]])
def test_a_full_stdout_ends_a_command_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], ask: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(arguments) == 1
        assert sys.stdout is full
    name = f"turnwire {arguments[0]}".removesuffix(arguments[0] if arguments[0].startswith("-") else "").strip()
    assert capsys.readouterr().err == f"{name}: cannot write to stdout: No space left on device\n"


def test_a_closed_stdout_ends_a_command_before_it_begins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["ask", "hi", "--base-url", "http://127.0.0.1:9/v1"]) == 1
    assert capsys.readouterr().err == "turnwire ask: cannot write to stdout: it is closed\n"


def test_problems_that_nobody_can_be_told_change_no_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str, /) -> int:
            raise OSError(28, "No space left on device")

    for stderr in (Full(), None):
        monkeypatch.setattr(sys, "stderr", stderr)
        assert main(["ask", "x", "--base-url", "nowhere"]) == 2
        with pytest.raises(SystemExit) as caught:
            main(["ask", "x", "--timeout", "0"])
        assert caught.value.code == 2


@pytest.mark.usefixtures("url")
def test_events_as_json_have_no_escape_codes(ask: Here) -> None:
    status, out, errors = ask("red \x1b[31m", "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert (status, errors, "\x1b" in out) == (0, "", False)
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "red \x1b[31m"
