//! `cargo xtask demo`.
use anyhow::Result;
pub(crate) fn quick() -> Result<()> {
    anyhow::bail!("not yet")
}
pub(crate) fn pod() -> Result<()> {
    anyhow::bail!("not yet")
}
