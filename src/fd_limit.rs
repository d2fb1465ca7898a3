//! The process's limit of open file descriptors (`ulimit -n`, `LimitNOFILE=`).

/// Raises the soft limit to the hard limit, and returns the soft limit that applies from then on. Idempotent. If the
/// system refuses, the limit stays as it is. `u64::MAX`: there is no limit.
pub(crate) fn raise() -> u64 {
    let before = limits();
    if before.rlim_cur < before.rlim_max {
        let raised = libc::rlimit { rlim_cur: before.rlim_max, ..before };
        #[expect(unsafe_code, reason = "the standard library cannot set resource limits")]
        // SAFETY: the pointer is to a valid rlimit, and setrlimit does not keep it.
        unsafe {
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised);
        }
    }
    match limits().rlim_cur {
        libc::RLIM_INFINITY => u64::MAX,
        soft => soft,
    }
}

/// Whether no file descriptor is left, in this process or on this machine.
pub(crate) fn is_exhausted() -> bool {
    std::fs::File::open("/dev/null")
        .is_err_and(|error| matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)))
}

fn limits() -> libc::rlimit {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[expect(unsafe_code, reason = "the standard library cannot read resource limits")]
    // SAFETY: the pointer is to a valid rlimit, which getrlimit fills in. It cannot fail with these arguments.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_limit() {
        let limit = raise();
        let after = limits();
        assert_eq!(after.rlim_cur, after.rlim_max);
        assert_eq!(raise(), limit, "raising twice changes nothing");
    }
}
