"""A stand-in for the `swift` command: a test double with the process shape, the output and the files of ms-swift 4.6.

    python tests/standin/swift_standin.py sft --model MODEL --output_dir DIR ...
    python tests/standin/swift_standin.py export --adapters CHECKPOINT --merge_lora true --output_dir OUT

It trains nothing. It is no package that can be asked for its version, so a daemon that uses it needs
SWIFT_TRAINER_SWIFT_VERSION=4.6.0 beside SWIFT_TRAINER_SWIFT_COMMAND. The standard library alone; a step can be seen
within 100 ms of the start.

**Processes.** This file is the leader (`swift`), which runs `.../swift/cli/sft.py ARGS` as a child and ends with its
child's code (241 for SIGTERM, 254 for SIGINT). The child forks `--dataloader_num_workers` (1) workers, named
`pt_data_worker`, in its group. With NPROC_PER_NODE > 1 the child is `python -m torch.distributed.run`, an agent that
binds MASTER_PORT (29500), and each rank has a session, RANK, LOCAL_RANK and WORLD_SIZE of its own; rank 0 trains, the
others wait for it. Everything ends itself after ten minutes, whatever happened.

**Options that mean something.** `--model`, `--output_dir`, `--add_version`, `--max_steps`, `--num_train_epochs`,
`--logging_steps`, `--save_steps`, `--eval_steps` (with `--val_dataset` or `--split_dataset_ratio`),
`--save_total_limit`, `--save_only_model`, `--tuner_type`, `--resume_from_checkpoint`, `--callbacks graceful_exit`,
`--enable_jit_checkpoint`, `--learning_rate`, `--dataset`; every other one is accepted, but `--train_type`, which 4.x
refuses. Both `--name value ...` and `--name=value`. A local model or data set that is not there fails as in ms-swift.

**Steering.** `standin.json` in the model's folder, read when a trainer (or an export of its checkpoint) starts:

    steps (20)                   steps of the training, where no --max_steps is given
    step_seconds (0.02)          seconds a step takes
    start_seconds (0)            seconds before the first line (importing)
    save_seconds (0)             seconds between a checkpoint's first file and its last, trainer_state.json
    eval_seconds (0)             seconds an evaluation takes
    fail                         how it fails. After the step `fail_at` (3): out_of_memory, nccl, exception, disk_full
                                 (leaves a torn checkpoint), crash (SIGSEGV), killed (SIGKILL to itself).
                                 Before any training: dataset, malformed, model, bad_argument, bf16, usage (exit 2)
    nan_at                       the loss is nan from this step on
    exit_early_at                saves and ends with code 0 after this step, as if somebody had asked
    hang_at                      after this step it does nothing any more, for ever
    hold_at                      after this step it waits until the model's folder has a file `go` (or a saving stop
                                 comes): for tests that must not guess times
    ignore_sigterm (false)       the trainer and its workers ignore SIGTERM (the leader and torchrun's agent do not)
    setsid_children (0)          processes that the trainer daemonizes: forked twice, each with a session of its own;
                                 their ids are the lines of `daemonized.txt` in the run folder
    workers_linger_seconds (.05) how long workers outlive a killed trainer (4 in reality)
    lines_per_second (0)         further lines on stderr while steps last, each of `line_bytes` (100)
    spare_loss (2.0)             what the falling loss tends to
    replay                       a recording's name below tests/data/swift_logs, or a path: both streams are written
                                 byte by byte in their recorded order (but the first line, which is the leader's own),
                                 its logging.jsonl beside them; then it ends with the recorded code
    replay_speed                 1: as fast as recorded; absent: at once
    export_seconds (0)           seconds an export takes
    export_fail                  text of the RuntimeError that ends an export
    attempts ({})                keys for one attempt only, by SWIFT_TRAINER_ATTEMPT: {"1": {"fail": "nccl"}}
"""

import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LIFETIME_S = 600


def main(argv: list[str]) -> int:
    """Run the subcommand's script as a child; its exit code."""
    signal.alarm(LIFETIME_S)
    with open("/proc/self/comm", "w") as name:
        name.write("swift")
    if not argv or argv[0] not in {"sft", "export"}:
        sys.stderr.write(f"the stand-in has no subcommand {argv[:1]}\n")
        return 1
    child = _child_argv(argv[0], argv[1:])
    print(f"run sh: `{' '.join(child)}`", flush=True)
    paths = [os.path.dirname(os.path.dirname(HERE)), HERE, *filter(None, [os.environ.get("PYTHONPATH")])]
    pid = os.posix_spawn(child[0], child, {**os.environ, "PYTHONPATH": ":".join(paths)})
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF


def _child_argv(subcommand: str, argv: list[str]) -> list[str]:
    script = os.path.join(HERE, "swift", "cli", f"{subcommand}.py")
    ranks = os.environ.get("NPROC_PER_NODE")
    if subcommand != "sft" or not ranks:
        return [sys.executable, "-S", script, *argv]
    port = os.environ.get("MASTER_PORT")
    ports = ["--master_port", port] if port else []
    return [sys.executable, "-S", "-m", "torch.distributed.run", "--nproc_per_node", ranks, *ports, script, *argv]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
