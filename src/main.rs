//! The binary: parses words, calls the library, returns an exit code.

fn main() -> std::process::ExitCode {
    portcullis::cli::main(std::env::args_os()).into()
}
