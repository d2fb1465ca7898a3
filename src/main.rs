//! The binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    quicklogin::commands::main()
}
