"""`swift-trainer notify`, the command.

`notifier_runs` has what it does, and is loaded only then: Apprise takes its time, and no other command waits for it.
"""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.session import (
    EXIT_INTERRUPTED,
    EXIT_NO_ANSWER,
    EXIT_USAGE,
    AsJson,
    Url,
    broker_settings,
    complain,
    fail,
)
from daemon.client import ClientError
from daemon.logs import configure

SPOOL = "notifications.db"
Check = Annotated[bool, typer.Option("--check", help="say whether the file is right, and end")]
Test = Annotated[bool, typer.Option("--test", help="send a test message of each rule, and end")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print what would be sent for live events")]


def notify(
    rules: Annotated[Path, typer.Argument(metavar="RULES.yaml", help="who is told of what, where")],
    *,
    check: Check = False,
    test: Test = False,
    dry_run: DryRun = False,
    queue: Annotated[str, typer.Option(help="this notifier's own queue on the broker")] = "swift.notifications",
    spool: Annotated[
        Path | None, typer.Option(help=f"file of what is still to be told; else {SPOOL} in SWIFT_TRAINER_STATE_DIR")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Tell of jobs by rules, until SIGTERM: any service that Apprise knows, and signed webhooks.

    A process of its own: no job depends on it. SIGHUP, or a change of the file, has the rules read anew.
    """
    from daemon.cli import notifier_runs as runs

    if check + test + dry_run > 1:
        fail("give one of --check, --test and --dry-run", EXIT_USAGE)
    settings = broker_settings()
    configure(form=settings.log_format, level=settings.log_level)
    broker = runs.Broker(url or settings.amqp_url.get_secret_value(), settings.amqp_ca_path, queue)
    options = runs.options(rules, spool or settings.state_path / SPOOL, broker)
    try:
        if check:
            runs.check(options)
        elif test:
            runs.test(options, as_json=as_json)
        elif dry_run:
            runs.dry_run(options, as_json=as_json)
        else:
            runs.serve_until_told(options)
    except (runs.RulesError, runs.SpoolError) as error:
        for line in str(error).splitlines()[:-1]:
            complain(line)
        fail(str(error).splitlines()[-1], EXIT_USAGE)
    except (ClientError, runs.UnavailableError) as error:
        fail(str(error), EXIT_NO_ANSWER)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
