//! Who `user[:group]` is in a tree: /etc/passwd and /etc/group as runc and BuildKit read them.
//!
//! Pure over the two files' bytes. A name that the files do not know is an error, never root.

use crate::error::FilesError;

/// The files of a tree; `None` where there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct UserFiles {
    pub(crate) passwd: Option<Vec<u8>>,
    pub(crate) group: Option<Vec<u8>>,
}

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// The home directory, which becomes HOME where the image sets none.
    pub(crate) home: String,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

impl UserFiles {
    fn passwd(&self) -> impl Iterator<Item = PasswdEntry<'_>> {
        lines(self.passwd.as_deref()).filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            let home = fields.nth(1).unwrap_or("/");
            Some(PasswdEntry { name, uid, gid, home })
        })
    }

    fn group(&self) -> impl Iterator<Item = GroupEntry<'_>> {
        lines(self.group.as_deref()).filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let gid = fields.nth(1)?.parse().ok()?;
            Some(GroupEntry { name, gid, members: fields.next().unwrap_or("") })
        })
    }

    /// The owner that `--chown` or WORKDIR's USER means. A user alone has the group of its passwd entry, or, given
    /// as a number, the group of the same number.
    pub(crate) fn owner(&self, text: &str) -> Result<(u32, u32), FilesError> {
        let (user, group) = parts(text)?;
        let (uid, its_group) = match number(user) {
            Some(uid) => (uid, uid),
            None => match self.passwd().find(|entry| entry.name == user) {
                Some(entry) => (entry.uid, entry.gid),
                // The one name that means the same in every image, also in one without /etc/passwd.
                None if user == "root" => (0, 0),
                None => {
                    return Err(FilesError::NoSuchName { file: PASSWD, what: "user", name: user.to_owned() });
                }
            },
        };
        let gid = group.map(|group| self.gid(group)).transpose()?;
        Ok((uid, gid.unwrap_or(its_group)))
    }

    /// Who a RUN step is with USER `text`; empty is root.
    pub(crate) fn process(&self, text: &str) -> Result<ProcessUser, FilesError> {
        let (user, group) = if text.is_empty() { ("0", None) } else { parts(text)? };
        let entry = match (self.passwd().find(|entry| entry.name == user), number(user)) {
            (Some(entry), _) => Some(entry),
            (None, Some(uid)) => self.passwd().find(|entry| entry.uid == uid),
            (None, None) => {
                return Err(FilesError::NoSuchName { file: PASSWD, what: "user", name: user.to_owned() });
            }
        };
        let uid = entry.as_ref().map(|entry| entry.uid).or(number(user)).unwrap_or(0);
        let mut process = ProcessUser {
            uid,
            gid: entry.as_ref().map_or(0, |entry| entry.gid),
            groups: Vec::new(),
            home: entry.as_ref().map_or("/", |entry| entry.home).to_owned(),
        };
        match (group, entry) {
            (Some(group), _) => process.gid = self.gid(group)?,
            (None, Some(entry)) => {
                let is_member =
                    |group: &GroupEntry<'_>| group.members.split(',').any(|member| member == entry.name);
                process.groups = self.group().filter(is_member).map(|group| group.gid).collect();
            }
            (None, None) => {}
        }
        Ok(process)
    }

    fn gid(&self, group: &str) -> Result<u32, FilesError> {
        let by_name = self.group().find(|entry| entry.name == group).map(|entry| entry.gid);
        by_name.or(number(group)).or((group == "root").then_some(0)).ok_or_else(|| FilesError::NoSuchName {
            file: GROUP,
            what: "group",
            name: group.to_owned(),
        })
    }
}

fn lines(file: Option<&[u8]>) -> impl Iterator<Item = &str> {
    file.unwrap_or_default()
        .split(|b| *b == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn parts(text: &str) -> Result<(&str, Option<&str>), FilesError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    if user.is_empty() || group.is_some_and(|group| group.is_empty() || group.contains(':')) {
        return Err(FilesError::BadUser { text: text.to_owned() });
    }
    Ok((user, group))
}

/// As runc: at most 2^31 - 1.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= 0x7fff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> UserFiles {
        UserFiles {
            passwd: Some(
                b"root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\napp:x:1000:1001:App:/home/app:/bin/sh\n7:x:77:78::/seven:\n"
                    .to_vec(),
            ),
            group: Some(b"root:x:0:\nstaff:x:50:app,other\napp:x:1001:\nvideo:x:44:app\n".to_vec()),
        }
    }

    #[test]
    fn an_owner_is_a_name_or_a_number() {
        let owner = |text| files().owner(text).unwrap();
        assert_eq!(owner("app"), (1000, 1001));
        assert_eq!(owner("app:staff"), (1000, 50));
        assert_eq!(owner("12"), (12, 12));
        assert_eq!(owner("12:34"), (12, 34));
        assert_eq!(owner("12:staff"), (12, 50));
        assert!(matches!(files().owner("nobody"), Err(FilesError::NoSuchName { what: "user", .. })));
        assert!(matches!(files().owner("app:nogroup"), Err(FilesError::NoSuchName { what: "group", .. })));
        assert!(matches!(files().owner(":staff"), Err(FilesError::BadUser { .. })));
        assert!(UserFiles::default().owner("app").is_err());
        assert_eq!(UserFiles::default().owner("5").unwrap(), (5, 5));
        assert_eq!(UserFiles::default().owner("root:root").unwrap(), (0, 0));
    }

    #[test]
    fn a_process_gets_its_groups_and_home() {
        let process = |text| files().process(text).unwrap();
        let of = |uid, gid, groups: &[u32], home: &str| ProcessUser {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.to_owned(),
        };
        assert_eq!(process(""), of(0, 0, &[], "/root"));
        assert_eq!(process("app"), of(1000, 1001, &[50, 44], "/home/app"));
        assert_eq!(process("1000"), of(1000, 1001, &[50, 44], "/home/app"));
        assert_eq!(process("app:staff"), of(1000, 50, &[], "/home/app"));
        assert_eq!(process("4242"), of(4242, 0, &[], "/"));
        assert_eq!(process("4242:4243"), of(4242, 4243, &[], "/"));
        assert_eq!(process("7"), of(77, 78, &[], "/seven"), "a name of digits is a name first");
        assert!(files().process("ghost").is_err());
        assert_eq!(UserFiles::default().process("").unwrap(), of(0, 0, &[], "/"));
    }
}
