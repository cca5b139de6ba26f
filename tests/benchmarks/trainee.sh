#!/bin/bash
# A `swift` that trains nothing and costs next to nothing: one shell without children, so that 50 of them leave the
# machine to the daemon. Its first act is to look at the clock.
#
# What it does stands in the model's folder, in `steering`: `lines` metric lines (0: it ends at once), each behind
# `noise` other lines, `pause` seconds between any two. A metric line's learning rate is the time at which it was
# written: that is how a subscriber knows. It goes on while `go` is there.
born=$EPOCHREALTIME
while (($#)); do
    case $1 in
        --model) model=$2 ;;
        --output_dir) run=$2 ;;
    esac
    shift
done
printf '%s' "$born" > "$model/born-$SWIFT_TRAINER_JOB_ID"
# shellcheck source=/dev/null
source "$model/steering"
((lines)) || exit 0
mkdir -p "$run"
exec {never}<> <(:)
printf '[INFO:swift] The logging file will be saved in: %s/logging.jsonl\n' "$run" >&2
for ((step = 1; step <= lines && SECONDS < 900; step++)); do
    for ((number = 0; number < noise; number++)); do
        printf '[INFO:swift] written %s, of about the length that such a line has, step %s\n' "$EPOCHREALTIME" "$step" >&2
        read -rt "$pause" -u "$never"
    done
    [[ -e $model/go ]] || exit 0
    now=$EPOCHREALTIME
    printf '{"loss": 2.34567891, "grad_norm": 0.75981234, "learning_rate": %s, "token_acc": 0.51234567, "epoch": 0.125, "global_step/max_steps": "%s/%s", "elapsed_time": "12s", "remaining_time": "1m 26s", "train_speed(s/it)": 12.252525}\n' \
        "$now" "$step" "$lines" >> "$run/logging.jsonl"
    printf "{'loss': '2.346', 'grad_norm': '0.7598', 'learning_rate': '%s', 'token_acc': '0.5123', 'epoch': '0.125', 'global_step/max_steps': '%s/%s', 'elapsed_time': '12s', 'remaining_time': '1m 26s', 'train_speed(s/it)': '12.25'}\n" \
        "$now" "$step" "$lines"
    read -rt "$pause" -u "$never"
done
