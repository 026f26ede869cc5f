//! Preview 1's `poll_oneoff`: waits for descriptors and for time.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::guest::{Answer, Guest};
use super::stat;
use crate::p1::errno::Errno;

const SUBSCRIPTION: u32 = 48;
const EVENT: u32 = 32;
/// More than any program waits for at once.
const MOST: u32 = 4096;

/// What one subscription waits for.
#[derive(Clone, Copy)]
enum Awaited {
    /// This much time from now on.
    Time(Duration),
    /// A descriptor of this number.
    Descriptor(u32, PollFlags),
    /// It cannot be waited for; the event says why.
    Wrong(Errno),
}

struct Subscription {
    userdata: u64,
    tag: u8,
    awaited: Awaited,
}

/// What came of a subscription.
struct Event {
    userdata: u64,
    tag: u8,
    errno: u16,
    hung_up: bool,
}

/// poll_oneoff(in, out, nsubscriptions, nevents)
pub(super) fn poll_oneoff(guest: &mut Guest<'_>, from: u32, to: u32, count: u32, happened: u32) -> Answer {
    if count == 0 || count > MOST {
        return Err(Errno::INVAL);
    }
    let mut subscriptions = Vec::new();
    for index in 0..count {
        subscriptions.push(read(guest, from.checked_add(index * SUBSCRIPTION).ok_or(Errno::FAULT)?)?);
    }
    let timeout = subscriptions.iter().filter_map(|one| match one.awaited {
        Awaited::Time(time) => Some(time),
        Awaited::Wrong(_) => Some(Duration::ZERO),
        Awaited::Descriptor(..) => None,
    });
    let timeout = timeout.min();
    let seen = wait(guest, &subscriptions, timeout)?;
    let elapsed = seen.iter().all(Option::is_none);
    if let (true, Some(time)) = (elapsed, timeout) {
        guest.host.clock.pass(time);
    }
    let event = |one: &Subscription, seen: &Option<PollFlags>| {
        let (errno, hung_up) = match (one.awaited, seen) {
            (Awaited::Wrong(errno), _) => (errno.0, false),
            (Awaited::Time(time), _) if elapsed && Some(time) == timeout => (0, false),
            (Awaited::Descriptor(..), Some(seen)) => (0, seen.contains(PollFlags::HUP)),
            _ => return None,
        };
        Some(Event { userdata: one.userdata, tag: one.tag, errno, hung_up })
    };
    let events: Vec<Event> =
        subscriptions.iter().zip(&seen).filter_map(|(one, seen)| event(one, seen)).collect();
    for (index, event) in (0..).zip(&events) {
        let mut bytes = [0; EVENT as usize];
        bytes[..8].copy_from_slice(&event.userdata.to_le_bytes());
        bytes[8..10].copy_from_slice(&event.errno.to_le_bytes());
        bytes[10] = event.tag;
        // How much can be read is not known without asking; at least one byte can be.
        bytes[16] = u8::from(event.tag != 0);
        bytes[24] = u8::from(event.hung_up);
        let at = u32::checked_mul(index, EVENT).and_then(|offset| to.checked_add(offset));
        guest.put(at.ok_or(Errno::FAULT)?, &bytes)?;
    }
    guest.put_size(happened, events.len())
}

fn read(guest: &mut Guest<'_>, at: u32) -> Result<Subscription, Errno> {
    const ABSOLUTE: u16 = 1;
    let field = |offset: u32| at.checked_add(offset).ok_or(Errno::FAULT);
    let userdata = guest.u64(at)?;
    let [tag, ..] = guest.u32(field(8)?)?.to_le_bytes();
    let awaited = match tag {
        0 => {
            let (clock, time, flags) =
                (guest.u32(field(16)?)?, guest.u64(field(24)?)?, guest.u16(field(40)?)?);
            let now = match clock {
                0 => Some(crate::clock::nanoseconds(guest.host.clock.wall())),
                1 => Some(guest.host.clock.monotonic()),
                _ => None,
            };
            match now {
                None => Awaited::Wrong(Errno::INVAL),
                Some(now) if flags & ABSOLUTE != 0 => {
                    Awaited::Time(Duration::from_nanos(time.saturating_sub(now)))
                }
                Some(_) => Awaited::Time(Duration::from_nanos(time)),
            }
        }
        1 | 2 => {
            let fd = guest.u32(field(16)?)?;
            let flags = if tag == 1 { PollFlags::IN } else { PollFlags::OUT };
            match guest.host.table.get(fd) {
                Ok(_) => Awaited::Descriptor(fd, flags),
                Err(errno) => Awaited::Wrong(errno),
            }
        }
        _ => return Err(Errno::INVAL),
    };
    Ok(Subscription { userdata, tag, awaited })
}

/// For each subscription what its descriptor came to, if it did.
fn wait(
    guest: &Guest<'_>,
    subscriptions: &[Subscription],
    timeout: Option<Duration>,
) -> Result<Vec<Option<PollFlags>>, Errno> {
    let mut polled = Vec::new();
    let mut seen = vec![None; subscriptions.len()];
    let mut places = Vec::new();
    let mut at_once = false;
    for (index, one) in subscriptions.iter().enumerate() {
        let Awaited::Descriptor(fd, flags) = one.awaited else { continue };
        if let Ok(fd) = guest.host.table.file(fd) {
            polled.push(PollFd::from_borrowed_fd(fd, flags));
            places.push(index);
        } else {
            // A directory never blocks.
            seen[index] = Some(flags);
            at_once = true;
        }
    }
    let timeout = if at_once { Some(Duration::ZERO) } else { timeout }.map(stat::timespec);
    match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Err(rustix::io::Errno::INTR.into()),
        Err(errno) => return Err(errno.into()),
    }
    for (polled, index) in polled.iter().zip(places) {
        if !polled.revents().is_empty() {
            seen[index] = Some(polled.revents());
        }
    }
    Ok(seen)
}
