"""What the process ends with, and why: one table for the code and the manual."""

from typing import Final

from dynamo_fe.config import errors

DOCTOR_FOUND_A_FAILURE: Final = 3
BENCH_HAD_FAILURES: Final = 4
# RestartPreventExitStatus= of the units
FOR_GOOD: Final = (
    errors.USAGE_ERROR, errors.UNREADABLE_FILE, errors.NO_RESOURCES, errors.NO_TEMPORARY_FOLDER,
    errors.BAD_CONFIGURATION,
)  # fmt: skip

EXIT_CODES: Final = (
    (0, "An orderly end: every running request came to its own, or was told why not."),
    (errors.FAILED, "The command line is to blame, as in the original: an unknown flag, or flags whose values or files "
     "cannot be served. And what another time may not fail: a port in use, an address that this host does not have, no "
     "serving process that could start. bench, explain: the frontend is not there, or refuses."),
    (errors.USAGE_ERROR, "The command line cannot be read, as in the original: a flag without its value, no number, "
     "none of the choices, an unknown command."),
    (DOCTOR_FOUND_A_FAILURE, "doctor: something that it looked at fails."),
    (BENCH_HAD_FAILURES, "bench: some requests failed, or none came to its end; the report says why."),
    (errors.UNREADABLE_FILE, "The configuration file or a credential is not there or cannot be read."),
    (errors.NO_RESOURCES, "Too few files may be open."),
    (errors.NO_TEMPORARY_FOLDER, "The temporary folder cannot be written to, or is full, and --mock-workers needs one. "
     "The one-file form always does: see 127 and 255."),
    (errors.NOT_WRITTEN, "What was asked for could not be written, as the disk is full."),
    (errors.BAD_CONFIGURATION, "A variable or the configuration file is to blame: a value, a combination, or a file "
     "that it names, such as a certificate, cannot be served."),
    (127, "The one-file form only: what it unpacked into the temporary folder may not be run there (mounted noexec). "
     "The message is the system's loader's; TMPDIR names another folder."),
    (130, "A second SIGINT: ended at once. 143 for a second SIGTERM. bench: the first one, after a report of what "
     "there was."),
    (255, "The one-file form only: it could not unpack itself into the temporary folder, where it needs 90 MB. The "
     "message is PyInstaller's boot loader's; TMPDIR names another folder."),
)  # fmt: skip
