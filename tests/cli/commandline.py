"""The command line as tests call it."""

from click.testing import CliRunner

from surgeon.cli import group


def invoke(*args):
    """Run a command line; returns (exit code, stdout, stderr)."""
    done = CliRunner().invoke(group, [str(a) for a in args])
    return done.exit_code, done.stdout, done.stderr
