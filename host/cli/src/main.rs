//! The binary `wbuild`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    wbuild_cli::main()
}
