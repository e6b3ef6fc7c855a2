//! The command line. Data goes to stdout, everything else to stderr.
//!
//! Exit codes: 0 ok, 1 SQL error or failed check, 2 usage, 3 bad configuration, 4 something outside is unreachable,
//! 5 storage locked or damaged, 74 the disk failed, 130 interrupted.

mod cli;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("DELTAMILL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if let Err(e) = fail::init() {
        eprintln!("deltamill: {}: {e}", fail::VARIABLE);
        return ExitCode::from(2);
    }
    let json = arguments.json();
    match arguments.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("{}", cli::output::failure(&failure, json));
            }
            ExitCode::from(failure.code)
        }
    }
}
