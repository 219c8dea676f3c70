"""A terminal of 80 columns for tests: what a person sees of a command."""

import fcntl
import os
import pty
import struct
import sys
import termios

import pyte

ROWS, COLUMNS = 24, 80
_CODE = "import sys; from surgeon.cli import main; main(sys.argv[1:])"


def seen(*args, code=_CODE, cwd="."):
    """(exit code, lines) of a command line, or of other Python code, as they stand on the terminal at the end."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.chdir(cwd)
            os.environ.update(TERM="xterm", COLUMNS=str(COLUMNS), LINES=str(ROWS))
            os.execv(sys.executable, [sys.executable, "-c", code, *map(str, args)])
        finally:
            os._exit(127)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    written = bytearray()
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # what Linux says at the end
            break
        if not part:
            break
        written += part
    os.close(terminal)
    status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status), shown(bytes(written))


def shown(written):
    """The lines that bytes leave on a terminal, with those that have scrolled away."""
    screen = pyte.HistoryScreen(COLUMNS, ROWS, history=10_000)
    pyte.ByteStream(screen).feed(written)
    past = ["".join(line[k].data for k in range(COLUMNS)) for line in screen.history.top]
    return [line.rstrip() for line in (*past, *screen.display)]
