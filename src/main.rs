//! The process: arguments, command, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    mailprobe::cli::main()
}
