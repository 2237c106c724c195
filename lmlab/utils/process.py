"""What ends a process: a signal that asks it to stop, and a watchdog for one that hangs."""

import contextlib
import faulthandler
import os
import signal
import sys
import threading
from pathlib import Path


class Stopped(KeyboardInterrupt):
    """A signal (`number`) asked to stop at a moment where nothing is lost by stopping at once."""

    def __init__(self, number=signal.SIGTERM):
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopSignals:
    """While it is entered, the first SIGINT or SIGTERM is an orderly stop; a second one acts as it would without this,
    and within a second even where a long compilation keeps Python from seeing either.

    The first makes this true, for a loop to see; in an `at_once` block it raises Stopped where it comes.
    """

    def __init__(self):
        self._number = 0
        self._at_once = False
        self._before = {}
        self._ended = threading.Event()

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # else (a notebook's server) signals are the caller's
            reading, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
            self._woke_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
            self._ignored_before, sys.unraisablehook = sys.unraisablehook, self._ignore
            threading.Thread(target=self._count, args=(reading,), name="lmlab-signals", daemon=True).start()
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        self._restore()
        if self._before:
            self._ended.set()
            signal.set_wakeup_fd(self._woke_before)
            if sys.unraisablehook == self._ignore:  # else another one was put before it, and needs it
                sys.unraisablehook = self._ignored_before
            os.close(self._writing)
            self._before = {}

    def _count(self, reading):
        """Ends the process at the second signal. The system writes their numbers, whatever Python is about."""
        came = 0
        with open(reading, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                came += number[0] in self._before
                if came == 2 and not self._ended.wait(1):
                    os._exit(128 + number[0])

    def __bool__(self):
        return bool(self._number)

    def deferred(self):
        """A block, within an `at_once` one, that a signal does not interrupt."""
        return self._mode(False)

    def at_once(self):
        """A block that a signal interrupts: it raises Stopped, on entry if one has come before."""
        return self._mode(True)

    @contextlib.contextmanager
    def _mode(self, at_once):
        before, self._at_once = self._at_once, at_once
        try:
            if at_once and self._number:
                raise Stopped(self._number)
            yield
        finally:
            self._at_once = before

    def _note(self, number, _frame):
        self._number = number
        self._restore()
        if self._at_once:
            raise Stopped(number)

    def _ignore(self, event):
        """Says nothing of a Stopped that came in a callback of the garbage collector, say, from where it goes nowhere:
        this is true all the same, and the loop will see it."""
        if event.exc_type is not Stopped:
            self._ignored_before(event)

    def _restore(self):
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Watchdog:
    """Ends the process where `seconds` (0: never) go by between two calls of `at`, the stacks of all threads in `file`.

    The time in which the process itself was stopped (Ctrl-Z, a suspended machine) does not count. It is a thread: it
    cannot act while a library holds on to Python's global lock, as a regular expression does.
    """

    def __init__(self, seconds, file):
        self._seconds, self._file = seconds, Path(file)
        self._place, self._idle = "", 0.0
        self._ended = threading.Event()

    def __enter__(self):
        if self._seconds:
            threading.Thread(target=self._watch, name="lmlab-watchdog", daemon=True).start()
        return self

    def __exit__(self, *_):
        self._ended.set()

    def at(self, place=""):
        """Tells that the process lives and what it turns to; "": to something that may take as long as it likes."""
        self._place, self._idle = place, 0.0

    def _watch(self):
        tick = min(1.0, self._seconds / 4)
        while not self._ended.wait(tick):
            self._idle += tick  # and not the clock's time: see above
            if self._place and self._idle >= self._seconds:
                self._end()

    def _end(self):
        with contextlib.suppress(OSError), open(self._file, "w") as file:  # a full disk is no reason to hang on
            faulthandler.dump_traceback(file)
        print(f"\nerror: nothing has moved for {self._seconds:g} s (config.train.watchdog) in {self._place}; the "
              f"stacks of all threads are in {self._file}. The same command goes on from the last checkpoint",
              file=sys.stderr, flush=True)
        os._exit(1)
