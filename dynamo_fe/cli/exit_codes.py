"""What the process ends with, and why: one table for the code and the manual."""

from typing import Final

from dynamo_fe.config import errors

DOCTOR_FOUND_A_FAILURE: Final = 3
BENCH_HAD_FAILURES: Final = 4

EXIT_CODES: Final = (
    (0, "An orderly end: every running request came to its own, or was told why not."),
    (errors.INVALID_CONFIGURATION, "A setting or a combination that cannot be served, a certificate that cannot be "
     "used, a port in use, or no serving process that could start. As the original. bench, explain: the frontend is "
     "not there, or refuses."),
    (errors.USAGE_ERROR, "A word on the command line that cannot be taken. As the original."),
    (DOCTOR_FOUND_A_FAILURE, "doctor: something that it looked at fails."),
    (BENCH_HAD_FAILURES, "bench: some requests failed, or none came to its end; the report says why."),
    (errors.UNREADABLE_FILE, "The configuration file or a credential is not there or cannot be read."),
    (errors.NO_RESOURCES, "Too few files may be open."),
    (errors.NO_TEMPORARY_FOLDER, "The temporary folder cannot be written to, or is full."),
    (errors.BAD_CONFIGURATION_FILE, "The configuration file holds what it must not."),
    (130, "A second SIGINT: ended at once. 143 for a second SIGTERM. bench: the first one, after a report of what "
     "there was."),
    (255, "The one-file form only: it could not unpack itself into the temporary folder."),
)  # fmt: skip
