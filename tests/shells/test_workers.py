"""README's workers with Redis, or Valkey, as their store: killed in the middle of turns, and nothing runs twice."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
SERVER = shutil.which("valkey-server") or shutil.which("redis-server")
NEEDED = ("redis", "starlette", "uvicorn")

ON_REDIS = '''
import asyncio

import program
from redis import Redis

WRITE = """
if tonumber(redis.call("hget", KEYS[1], "version") or 0) ~= tonumber(ARGV[1]) then return 0 end
redis.call("hset", KEYS[1], "version", ARGV[1] + 1, "text", ARGV[2])
return 1
"""


class Store:
    def __init__(self):
        self._db = Redis(unix_socket_path="redis.sock", decode_responses=True)

    def read(self, name):
        version, text = self._db.hmget(name, "version", "text")
        return int(version or 0), text or ""

    def write(self, name, version, text):
        if not self._db.eval(WRITE, 1, name, version, text):
            raise program.Busy


program.Store = Store
app = program.app

if __name__ == "__main__":
    asyncio.run(program.main("on_redis:app"))
    store = Store()
    version, text = store.read("ann")
    store.write("ann", version, text)
    try:
        store.write("ann", version, text)
    except program.Busy:
        print("busy")
'''


@pytest.mark.skipif(SERVER is None, reason="there is no valkey-server or redis-server: apt install valkey-server")
@pytest.mark.skipif(not all(map(importlib.util.find_spec, NEEDED)), reason=f"pip install {' '.join(NEEDED)}")
def test_workers_are_killed_and_nothing_runs_twice_with_redis(tmp_path: Path) -> None:
    section = README.read_text(encoding="utf-8").partition("\n### More than one process\n")[2]
    blocks = re.findall(r"^```(?:python|text)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    program, shown = blocks[:2]
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    (tmp_path / "on_redis.py").write_text(ON_REDIS, encoding="utf-8")
    options = ["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--daemonize", "no"]
    with subprocess.Popen([str(SERVER), *options], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as database:
        try:
            assert database.stdout is not None
            assert any("ready to accept connections" in line.lower() for line in database.stdout)
            command = [sys.executable, "-W", "error", "on_redis.py"]
            ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        finally:
            database.kill()
    assert (ran.stdout, ran.stderr) == (f"{shown}busy\n", "")
