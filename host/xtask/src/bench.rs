//! `cargo xtask bench`.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// Whole builds beside buildah
    Build,
    /// Steps beside root in a chroot
    Steps,
}
impl Bench {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        anyhow::bail!("not yet")
    }
}
