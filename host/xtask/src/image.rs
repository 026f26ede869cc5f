//! `cargo xtask image DIR`.
use anyhow::Result;
pub(crate) fn run(_dir: &std::path::Path) -> Result<()> {
    anyhow::bail!("not yet")
}
