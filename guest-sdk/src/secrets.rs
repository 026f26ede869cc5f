//! Secrets of the `RUN` instruction: `RUN --mount=type=secret,id=token tool`.

use crate::{Error, Result};

/// A secret. It is not shown by `Debug`, and cannot be cloned by accident.
pub struct Secret(Vec<u8>);

impl Secret {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its text, without white space around it: files often end with a line end.
    ///
    /// # Errors
    /// It is no UTF-8.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.0).map(str::trim).map_err(|_| Error::new("the secret is no UTF-8"))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

/// The names of the secrets that the step was given.
pub fn ids() -> Vec<String> {
    #[cfg(target_family = "wasm")]
    return crate::bindings::context::secrets();
    #[cfg(not(target_family = "wasm"))]
    crate::mock::with(|mock| mock.secrets.keys().cloned().collect())
}

/// The secret of this name.
///
/// # Errors
/// The instruction mounts none of this name, the build was not given it, or the step's user may not read it.
pub fn get(id: &str) -> Result<Secret> {
    let absent = || {
        Error::new(format!(
            "no secret {id:?}: RUN --mount=type=secret,id={id} and wbuild build --secret id={id},..."
        ))
    };
    #[cfg(target_family = "wasm")]
    {
        use crate::bindings::secrets::{self, Error as Kind};
        match secrets::get(id) {
            Ok(secret) => Ok(Secret(secret.expose())),
            Err(Kind::NotGiven) => Err(absent()),
            Err(Kind::Denied) => Err(Error::new(format!("the step's user may not read the secret {id:?}"))),
            Err(Kind::Failed) => Err(Error::new(format!("the secret {id:?} cannot be read"))),
        }
    }
    #[cfg(not(target_family = "wasm"))]
    crate::mock::with(|mock| mock.secrets.get(id).cloned()).map(Secret).ok_or_else(absent)
}
