//! The System V objects of one step.
//!
//! Invariant: steps do not meet. The kernel knows the objects as private ones; their keys exist in this table alone, and
//! a guest reaches only ids that stand in it. What is left is removed with the table.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use wbuild_sys::sysv::{self, Kind};

/// See the module.
#[derive(Debug, Default)]
pub struct SysV {
    objects: Mutex<Vec<Object>>,
}

#[derive(Debug)]
struct Object {
    kind: Kind,
    /// `None` for private ones, and for those that were removed and may still be in use.
    key: Option<i32>,
    id: i32,
    size: u64,
}

const PRIVATE: i32 = 0;
const CREATE: u32 = 0o1000;
const EXCLUSIVE: u32 = 0o2000;

impl SysV {
    /// shmget, semget or msgget.
    ///
    /// # Errors
    /// ENOENT, EEXIST, EINVAL as those calls answer them.
    pub fn get(&self, kind: Kind, key: i32, size: u64, flags: u32) -> Result<i32, Errno> {
        let mut objects = self.objects();
        if let Some(found) = objects.iter().find(|object| object.kind == kind && object.key == Some(key)) {
            return match flags & (CREATE | EXCLUSIVE) {
                both if both == CREATE | EXCLUSIVE => Err(Errno::EXIST),
                _ if size > found.size => Err(Errno::INVAL),
                _ => Ok(found.id),
            };
        }
        if key != PRIVATE && flags & CREATE == 0 {
            return Err(Errno::NOENT);
        }
        let id = sysv::create(kind, size, flags & !(CREATE | EXCLUSIVE))?;
        objects.push(Object { kind, key: Some(key).filter(|key| *key != PRIVATE), id, size });
        Ok(id)
    }

    /// True if `id` is an object of the step.
    #[must_use]
    pub fn has(&self, kind: Kind, id: i32) -> bool {
        self.objects().iter().any(|object| object.kind == kind && object.id == id)
    }

    /// Notes that a guest removes `id`: its key is free.
    pub fn forget(&self, kind: Kind, id: i32) {
        for object in self.objects().iter_mut().filter(|object| object.kind == kind && object.id == id) {
            object.key = None;
        }
    }

    fn objects(&self) -> MutexGuard<'_, Vec<Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SysV {
    fn drop(&mut self) {
        for object in self.objects().drain(..) {
            // Most were removed by the guest itself.
            let _gone = sysv::remove(object.kind, object.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_steps_own_and_objects_go_with_it() {
        let (one, other) = (SysV::default(), SysV::default());
        let id = one.get(Kind::Memory, 42, 4096, CREATE | 0o600).unwrap();
        assert_eq!(one.get(Kind::Memory, 42, 100, 0), Ok(id));
        assert_eq!(one.get(Kind::Memory, 42, 8192, 0), Err(Errno::INVAL));
        assert_eq!(one.get(Kind::Memory, 42, 4096, CREATE | EXCLUSIVE), Err(Errno::EXIST));
        assert_eq!(one.get(Kind::Semaphores, 42, 1, 0), Err(Errno::NOENT));
        assert_eq!(other.get(Kind::Memory, 42, 4096, 0), Err(Errno::NOENT));
        assert!(one.has(Kind::Memory, id) && !other.has(Kind::Memory, id));
        one.forget(Kind::Memory, id);
        assert_eq!(one.get(Kind::Memory, 42, 4096, 0), Err(Errno::NOENT));
        let queue = one.get(Kind::Queue, PRIVATE, 0, 0o600).unwrap();
        drop(one);
        assert_eq!(sysv::remove(Kind::Queue, queue), Err(Errno::INVAL));
        assert_eq!(sysv::remove(Kind::Memory, id), Err(Errno::INVAL));
    }
}
