//! The configuration of the image that the stage becomes, and of stages `FROM` it.
//!
//! What a later stage's own instruction says of the same field wins. The environment of later steps of this stage stays as it is.

use crate::Result;

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

macro_rules! change {
    ($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) => $line:expr) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// The instruction could not say it, or a policy forbids it.
        pub fn $name($($argument: $type),*) -> Result {
            #[cfg(target_family = "wasm")]
            return crate::bindings::image::$name($($argument),*).map_err(crate::Error::from);
            #[cfg(not(target_family = "wasm"))]
            crate::mock::with(|mock| mock.image.push($line));
            #[cfg(not(target_family = "wasm"))]
            Ok(())
        }
    };
}

change! {
    /// As `ENV name=value`.
    set_env(name: &str, value: &str) => format!("ENV {name}={value}")
}
change! {
    /// As `LABEL name=value`.
    set_label(name: &str, value: &str) => format!("LABEL {name}={value}")
}
change! {
    /// As `USER user`.
    set_user(user: &str) => format!("USER {user}")
}
change! {
    /// As `WORKDIR path`; the path is absolute.
    set_workdir(path: &str) => format!("WORKDIR {path}")
}

/// As `ENTRYPOINT ["word", ..]`.
///
/// # Errors
/// As [`set_env`].
pub fn set_entrypoint(words: &[&str]) -> Result {
    #[cfg(target_family = "wasm")]
    return crate::bindings::image::set_entrypoint(&owned(words)).map_err(crate::Error::from);
    #[cfg(not(target_family = "wasm"))]
    crate::mock::with(|mock| mock.image.push(format!("ENTRYPOINT {words:?}")));
    #[cfg(not(target_family = "wasm"))]
    Ok(())
}

/// As `CMD ["word", ..]`.
///
/// # Errors
/// As [`set_env`].
pub fn set_cmd(words: &[&str]) -> Result {
    #[cfg(target_family = "wasm")]
    return crate::bindings::image::set_cmd(&owned(words)).map_err(crate::Error::from);
    #[cfg(not(target_family = "wasm"))]
    crate::mock::with(|mock| mock.image.push(format!("CMD {words:?}")));
    #[cfg(not(target_family = "wasm"))]
    Ok(())
}

/// As `EXPOSE port/protocol`.
///
/// # Errors
/// As [`set_env`].
pub fn expose(port: u16, protocol: Protocol) -> Result {
    #[cfg(target_family = "wasm")]
    {
        use crate::bindings::image::{self, Protocol as Wire};
        let protocol = match protocol {
            Protocol::Tcp => Wire::Tcp,
            Protocol::Udp => Wire::Udp,
            Protocol::Sctp => Wire::Sctp,
        };
        image::expose(port, protocol).map_err(crate::Error::from)
    }
    #[cfg(not(target_family = "wasm"))]
    {
        let protocol = format!("{protocol:?}").to_lowercase();
        crate::mock::with(|mock| mock.image.push(format!("EXPOSE {port}/{protocol}")));
        Ok(())
    }
}

#[cfg(target_family = "wasm")]
fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
