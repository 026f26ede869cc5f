//! `struct sockaddr_un` as guests give and get it (unix(7)).

use std::net::SocketAddr;

use rustix::io::Errno;

/// What the kernel reads at most of any address (`sizeof(struct sockaddr_storage)`).
pub(crate) const MAX: usize = 128;
/// `sizeof(sun_path)`.
const PATH_MAX: usize = 108;
const AF_UNIX: u16 = 1;

/// A socket's name as the guest knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A path as the guest wrote it.
    Path(Vec<u8>),
    /// An abstract name, with its leading NUL.
    Abstract(Vec<u8>),
}

/// What an address asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A name.
    Named(Name),
    /// Only a family: bind chooses an abstract name.
    Unnamed,
}

/// Decodes what a guest gave to bind or connect.
///
/// # Errors
/// EINVAL for another family or a length that AF_UNIX does not have.
pub(crate) fn decode(bytes: &[u8]) -> Result<Address, Errno> {
    let family = bytes.first_chunk().map(|family| u16::from_ne_bytes(*family)).ok_or(Errno::INVAL)?;
    let path = &bytes[2..];
    if family != AF_UNIX || path.len() > PATH_MAX {
        return Err(Errno::INVAL);
    }
    Ok(match path.first() {
        None => Address::Unnamed,
        // The whole length counts, NULs included.
        Some(0) => Address::Named(Name::Abstract(path.to_vec())),
        Some(_) => {
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            Address::Named(Name::Path(path[..end].to_vec()))
        }
    })
}

/// Decodes an address of IPv4 or IPv6 (ip(7), ipv6(7)); `None` for what is none.
pub(crate) fn internet(bytes: &[u8]) -> Option<SocketAddr> {
    const INET: u16 = 2;
    const INET6: u16 = 10;
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match family {
        INET => Some(SocketAddr::from((*bytes.get(4..)?.first_chunk::<4>()?, port))),
        // The flow information stands before the address.
        INET6 => Some(SocketAddr::from((*bytes.get(8..)?.first_chunk::<16>()?, port))),
        _ => None,
    }
}

/// The bytes getsockname and getpeername give; a path ends with its NUL.
pub(crate) fn encode(name: Option<&Name>) -> Vec<u8> {
    let mut bytes = AF_UNIX.to_ne_bytes().to_vec();
    match name {
        None => {}
        Some(Name::Abstract(name)) => bytes.extend_from_slice(name),
        Some(Name::Path(path)) => {
            bytes.extend_from_slice(path);
            bytes.push(0);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_family(path: &[u8]) -> Vec<u8> {
        [&AF_UNIX.to_ne_bytes(), path].concat()
    }

    #[test]
    fn decodes_each_kind_of_name() {
        assert_eq!(decode(&with_family(b"/run/x\0junk")), Ok(Address::Named(Name::Path(b"/run/x".to_vec()))));
        assert_eq!(decode(&with_family(b"/run/x")), Ok(Address::Named(Name::Path(b"/run/x".to_vec()))));
        assert_eq!(decode(&with_family(b"\0a\0")), Ok(Address::Named(Name::Abstract(b"\0a\0".to_vec()))));
        assert_eq!(decode(&with_family(b"")), Ok(Address::Unnamed));
        assert_eq!(decode(&with_family(&[b'x'; 109])), Err(Errno::INVAL));
        assert_eq!(decode(&[2, 0, 0, 0]), Err(Errno::INVAL));
        assert_eq!(decode(&[1]), Err(Errno::INVAL));
    }

    #[test]
    fn decodes_internet_addresses() {
        let four = [&2_u16.to_ne_bytes()[..], &[0, 80, 192, 0, 2, 7], &[0; 8]].concat();
        assert_eq!(internet(&four), Some("192.0.2.7:80".parse().unwrap()));
        assert_eq!(internet(&four[..7]), None);
        let six =
            [&10_u16.to_ne_bytes()[..], &[1, 187], &[9; 4], &[0x20, 1, 0xd, 0xb8], &[0; 11], &[1]].concat();
        assert_eq!(internet(&six), Some("[2001:db8::1]:443".parse().unwrap()));
        assert_eq!(internet(&with_family(b"/run/x")), None);
        assert_eq!(internet(&[]), None);
    }

    #[test]
    fn encodes_what_it_decodes() {
        for name in [Name::Path(b"/run/x".to_vec()), Name::Abstract(b"\0abc".to_vec())] {
            assert_eq!(decode(&encode(Some(&name))), Ok(Address::Named(name)));
        }
        assert_eq!(encode(None), AF_UNIX.to_ne_bytes());
    }
}
