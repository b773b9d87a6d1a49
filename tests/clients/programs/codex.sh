#!/bin/sh
# The tool loop of codex: CODEX is the program, SOCKETS says whether it may use WebSocket, HOME is a folder of the test.
export CODEX_HOME="$HOME/codex"
mkdir -p "$CODEX_HOME"
cat > "$CODEX_HOME/config.toml" <<TOML
model = "gpt-6"
model_provider = "turnwire"
[model_providers.turnwire]
name = "turnwire"
base_url = "$OPENAI_BASE_URL"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
supports_websockets = $SOCKETS
TOML
exec "$CODEX" exec --skip-git-repo-check --color never -C "$HOME" "What is 40 + 2? Use the shell."
