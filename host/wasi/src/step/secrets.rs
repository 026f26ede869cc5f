//! `wbuild:step/secrets`: read where the step's own mounts show them, as the step's own user.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use wasmtime::component::Resource;
use wbuild_monitor::SecretPlace;

use super::View;
use super::bindings::wbuild::step::secrets::{Error, Host, HostSecret};

/// Bytes of a secret at most: as wbuild takes them.
const LARGEST: u64 = 1 << 20;

/// One secret that a component holds.
#[expect(unreachable_pub, reason = "the generated module exports it again")]
pub struct Secret(Vec<u8>);

impl Host for View<'_> {
    fn get(&mut self, id: String) -> wasmtime::Result<Result<Resource<Secret>, Error>> {
        let Some(place) = super::place(&self.step.tool, &id) else { return Ok(Err(Error::NotGiven)) };
        match read(place) {
            Ok(bytes) => Ok(Ok(self.table.push(Secret(bytes))?)),
            Err(Errno::ACCESS | Errno::PERM) => Ok(Err(Error::Denied)),
            Err(_) => Ok(Err(Error::Failed)),
        }
    }
}

impl HostSecret for View<'_> {
    fn expose(&mut self, secret: Resource<Secret>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.table.get(&secret)?.0.clone())
    }

    fn drop(&mut self, secret: Resource<Secret>) -> wasmtime::Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

fn read(place: &SecretPlace) -> Result<Vec<u8>, Errno> {
    match place {
        SecretPlace::Variable(name) => {
            std::env::var_os(name).map(|value| value.as_bytes().to_vec()).ok_or(Errno::NOENT)
        }
        SecretPlace::File(path) => {
            let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            let mut bytes = Vec::new();
            std::fs::File::from(file)
                .take(LARGEST)
                .read_to_end(&mut bytes)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            Ok(bytes)
        }
    }
}
