#!/bin/sh
# A test in a shell: what a program asks, and what it gets, with curl alone. TURNWIRE names the program.
set -eu
folder="$(mktemp -d)"
cd "$folder"

cat > script.json <<'JSON'
{"rules": [
  {"when": {"text": {"contains": "weather"}, "turn": 1}, "reply": {"call": "weather", "arguments": {"city": "Oslo"}}},
  {"when": {"tool_output": {"matches": "rain|snow"}}, "reply": "Take an umbrella."},
  {"reply": {"failed": "server_error", "message": "Nobody has told me what to say."}}
]}
JSON
"${TURNWIRE:-turnwire}" serve --port 0 --script script.json --control --ready-file ready.json > log &
server=$!
trap 'kill $server; wait $server || true; rm -r "$folder"' EXIT
until [ -s ready.json ]; do kill -0 $server; sleep 0.02; done
url="$(sed 's/.*"base_url": "\([^"]*\)".*/\1/' ready.json)"
control="$(sed 's/.*"control_url": "\([^"]*\)".*/\1/' ready.json)"

ask() { curl --silent --show-error --noproxy '*' --json "$2" "$1"; }

ask "$url/responses" '{"model": "gpt-6", "input": "How is the weather?"}' > first.json
id="$(sed 's/.*"id":"\(resp_[0-9]*\)".*/\1/' first.json)"
call="$(sed 's/.*"call_id":"\([^"]*\)".*/\1/' first.json)"
output='{"type": "function_call_output", "call_id": "'"$call"'", "output": "rain, 4 degrees"}'
ask "$url/responses" '{"model": "gpt-6", "previous_response_id": "'"$id"'", "input": ['"$output"']}' |
  grep -o 'Take an umbrella\.' | head -n 1

# From here on the next request is refused, once.
limited='{"before_run": true, "do": {"error": {"status": 429, "code": "rate_limit_exceeded", "headers": {"retry-after": "1"}}}}'
ask "$control/faults" "$limited" > /dev/null
ask "$url/responses" '{"model": "gpt-6", "input": "And tomorrow?"}' | grep -o '"code":"rate_limit_exceeded"'
ask "$url/responses" '{"model": "gpt-6", "input": "And tomorrow?"}' | grep -o 'Nobody has told me what to say' | head -n 1

ask "$control/expect" '{"entries": ["completed", "completed", {"outcome": "failed", "body": {"input": "And tomorrow?"}}]}'
echo
ask "$control/expect" '{"entries": ["completed"]}' | grep -o 'expected 1 requests, got 3' | head -n 1
curl --silent --noproxy '*' "$control/ledger?outcome=failed" | grep -o '"code":"server_error"'
