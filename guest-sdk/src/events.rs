//! What the user sees of the step. Plain `println!` works too.

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the tool's author.
    Debug,
    /// For everyone.
    Info,
    /// Something looks wrong, and the step goes on.
    Warning,
    /// Something is wrong. The step fails when the tool fails.
    Error,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// The byte in the line, from 1.
    pub column: u32,
}

/// Says a line.
pub fn log(level: Level, message: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::events::log(wire(level), message);
    #[cfg(not(target_family = "wasm"))]
    crate::mock::with(|mock| mock.lines.push((level, message.to_owned())));
}

/// Says a line for everyone.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// Says what looks wrong.
pub fn warning(message: &str) {
    log(Level::Warning, message);
}

/// Says how far a piece of work is; a `total` of 0 is unknown. It costs little: call it for each item.
pub fn progress(id: &str, done: u64, total: u64) {
    #[cfg(target_family = "wasm")]
    crate::bindings::events::progress(id, done, total);
    #[cfg(not(target_family = "wasm"))]
    crate::mock::with(|mock| mock.progress.insert(id.to_owned(), (done, total)));
}

/// Says something about an input, as a compiler does.
pub fn diagnostic(level: Level, message: &str, at: Option<&Span>, hint: Option<&str>) {
    #[cfg(target_family = "wasm")]
    {
        use crate::bindings::events;
        let at =
            at.map(|span| events::Span { file: span.file.clone(), line: span.line, column: span.column });
        events::diagnostic(wire(level), message, at.as_ref(), hint);
    }
    #[cfg(not(target_family = "wasm"))]
    crate::mock::with(|mock| {
        let place = at.map(|span| format!("{}:{}:{}: ", span.file, span.line, span.column));
        let hint = hint.map(|hint| format!(" (hint: {hint})"));
        let line = format!("{}{message}{}", place.unwrap_or_default(), hint.unwrap_or_default());
        mock.lines.push((level, line));
    });
}

#[cfg(target_family = "wasm")]
fn wire(level: Level) -> crate::bindings::events::Level {
    use crate::bindings::events::Level as Wire;
    match level {
        Level::Debug => Wire::Debug,
        Level::Info => Wire::Info,
        Level::Warning => Wire::Warning,
        Level::Error => Wire::Error,
    }
}
