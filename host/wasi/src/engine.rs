//! One wasmtime configuration for whoever compiles and whoever runs: code of one is refused by another.
//!
//! No feature of wasm is on that no released toolchain uses; limits of a running module are in host.rs.

use wasmtime::{Config, Engine};
use wbuild_monitor::Metered;

/// Stack of a module's own frames, in bytes: what an ordinary process has.
pub(crate) const STACK: usize = 8 << 20;
/// What the thread that runs a module needs besides.
pub(crate) const THREAD_STACK: usize = STACK + (4 << 20);

/// An engine for such code.
///
/// # Errors
/// This machine's architecture is none that wasmtime compiles for.
pub(crate) fn engine(metered: Metered) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.max_wasm_stack(STACK);
    config.async_stack_size(THREAD_STACK);
    config.consume_fuel(metered == Metered::Fuel);
    // A file that a module names must not decide what a backtrace shows.
    config.wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable);
    Engine::new(&config)
}
