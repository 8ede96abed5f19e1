"""Resource limits of the process and, by inheritance, of its children."""

import resource


def raise_fd_limit(target: int) -> int:
    """Raises the soft limit of open files to `target`, as far as the hard limit allows; never lowers it.

    Returns the soft limit then in force.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = target if hard == resource.RLIM_INFINITY else min(target, hard)
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
