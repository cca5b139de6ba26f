#!/usr/bin/env bash
# Order a training and wait for its end:  docs/examples/shell/train.sh MODEL DATASET
# Needs `swift-trainer` on the PATH and the broker's URL in SWIFT_TRAINER_AMQP_URL.
# Exit codes are the command line's: 0 completed, 1 refused or failed, 2 used wrongly, 3 no broker or no answer.
set -euo pipefail

if [ "$#" -ne 2 ]; then
  echo "usage: $0 MODEL DATASET" >&2
  exit 2
fi

# JSON is YAML too; python quotes whatever a name may hold
request=$(python3 -c '
import json, sys
model, dataset = sys.argv[1:]
print(json.dumps({"training_type": "llm", "model_path": model, "datasets": [dataset], "output_dir": "output/shell"}))
' "$1" "$2")

# the same message id again makes no second job: give MESSAGE_ID to run this again after exit code 3
message_id=${MESSAGE_ID:-$(python3 -c 'import uuid; print(uuid.uuid4())')}
answer=$(swift-trainer submit - --start --json --message-id "$message_id" <<<"$request")
job=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["job_id"])' <<<"$answer")
echo "job $job"

code=0
swift-trainer watch "$job" || code=$?
swift-trainer show "$job" --json | python3 -c '
import json, sys
job = json.load(sys.stdin)
print(job["status"], job["export_path"] or job["error_message"] or "")
'
exit "$code"
