//! WASI preview 1 for core modules (wasi_snapshot_preview1.witx): all of it but sockets, over the process's own calls.
//!
//! Every call on a name is the process's own system call, so the broker answers it as it answers any program's: links,
//! ownership, modes, views, policy and the journal are the monitor's. Nothing is checked twice here.
//! Sockets, signals and threads are refused: a module has none.

pub(crate) mod errno;
mod files;
mod guest;
mod paths;
mod poll;
mod stat;
pub(crate) mod table;

pub(crate) use stat::timespec;

use wasmtime::{Caller, Extern, Linker};

use crate::host::{Exited, Host};
use errno::Errno;
use files::{
    fd_advise, fd_allocate, fd_close, fd_datasync, fd_fdstat_get, fd_fdstat_set_flags, fd_fdstat_set_rights,
    fd_filestat_get, fd_filestat_set_size, fd_filestat_set_times, fd_pread, fd_prestat_dir_name,
    fd_prestat_get, fd_pwrite, fd_read, fd_readdir, fd_renumber, fd_seek, fd_sync, fd_tell, fd_write,
};
use guest::{Answer, Guest, slice_mut};
use paths::{
    path_create_directory, path_filestat_get, path_filestat_set_times, path_link, path_open, path_readlink,
    path_remove_directory, path_rename, path_symlink, path_unlink_file,
};
use poll::poll_oneoff;

const MODULE: &str = "wasi_snapshot_preview1";

/// Links each call to the function of its name.
macro_rules! link {
    ($linker:expr, $($name:ident($($argument:ident: $type:ty),*);)*) => {
        $($linker.func_wrap(MODULE, stringify!($name), |mut caller: Caller<'_, Host>, $($argument: $type),*| {
            with_memory(&mut caller, |guest| $name(guest, $($argument),*))
        })?;)*
    };
}

/// Links preview 1.
///
/// # Errors
/// A name that stands twice.
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    link! { linker,
        args_get(table: u32, text: u32);
        args_sizes_get(count: u32, size: u32);
        environ_get(table: u32, text: u32);
        environ_sizes_get(count: u32, size: u32);
        clock_res_get(clock: u32, out: u32);
        clock_time_get(clock: u32, precision: u64, out: u32);
        random_get(at: u32, length: u32);
        sched_yield();
        proc_raise(signal: u32);
        poll_oneoff(from: u32, to: u32, count: u32, happened: u32);
        sock_accept(fd: u32, flags: u32, out: u32);
        sock_recv(fd: u32, data: u32, count: u32, flags: u32, length: u32, out: u32);
        sock_send(fd: u32, data: u32, count: u32, flags: u32, length: u32);
        sock_shutdown(fd: u32, how: u32);
    }
    link! { linker,
        fd_advise(fd: u32, offset: u64, length: u64, advice: u32);
        fd_allocate(fd: u32, offset: u64, length: u64);
        fd_close(fd: u32);
        fd_datasync(fd: u32);
        fd_fdstat_get(fd: u32, out: u32);
        fd_fdstat_set_flags(fd: u32, flags: u32);
        fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64);
        fd_filestat_get(fd: u32, out: u32);
        fd_filestat_set_size(fd: u32, size: u64);
        fd_filestat_set_times(fd: u32, accessed: u64, modified: u64, flags: u32);
        fd_pread(fd: u32, buffers: u32, count: u32, offset: u64, out: u32);
        fd_prestat_get(fd: u32, out: u32);
        fd_prestat_dir_name(fd: u32, out: u32, length: u32);
        fd_pwrite(fd: u32, buffers: u32, count: u32, offset: u64, out: u32);
        fd_read(fd: u32, buffers: u32, count: u32, out: u32);
        fd_readdir(fd: u32, buffer: u32, length: u32, cookie: u64, out: u32);
        fd_renumber(from: u32, to: u32);
        fd_seek(fd: u32, offset: i64, whence: u32, out: u32);
        fd_sync(fd: u32);
        fd_tell(fd: u32, out: u32);
        fd_write(fd: u32, buffers: u32, count: u32, out: u32);
    }
    link! { linker,
        path_create_directory(fd: u32, path: u32, length: u32);
        path_filestat_get(fd: u32, lookup: u32, path: u32, length: u32, out: u32);
        path_filestat_set_times(fd: u32, lookup: u32, path: u32, length: u32, accessed: u64, modified: u64, flags: u32);
        path_link(old_fd: u32, lookup: u32, old: u32, old_length: u32, new_fd: u32, new: u32, new_length: u32);
        path_open(fd: u32, lookup: u32, path: u32, length: u32, how: u32, base: u64, inheriting: u64, flags: u32, out: u32);
        path_readlink(fd: u32, path: u32, length: u32, buffer: u32, room: u32, out: u32);
        path_remove_directory(fd: u32, path: u32, length: u32);
        path_rename(old_fd: u32, old: u32, old_length: u32, new_fd: u32, new: u32, new_length: u32);
        path_symlink(target: u32, target_length: u32, fd: u32, path: u32, length: u32);
        path_unlink_file(fd: u32, path: u32, length: u32);
    }
    linker.func_wrap(MODULE, "proc_exit", |code: u32| -> wasmtime::Result<()> {
        Err(Exited(code.cast_signed()).into())
    })?;
    Ok(())
}

fn with_memory(
    caller: &mut Caller<'_, Host>,
    call: impl FnOnce(&mut Guest<'_>) -> Answer,
) -> wasmtime::Result<u32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Err(wasmtime::Error::msg("the module calls WASI and exports no memory"));
    };
    let (memory, host) = memory.data_and_store_mut(caller);
    Ok(match call(&mut Guest { memory, host }) {
        Ok(()) => 0,
        Err(Errno(number)) => number.into(),
    })
}

fn args_sizes_get(guest: &mut Guest<'_>, count: u32, size: u32) -> Answer {
    let (strings, bytes) = sizes(&guest.host.arguments);
    guest.put_size(count, strings)?;
    guest.put_size(size, bytes)
}

fn args_get(guest: &mut Guest<'_>, table: u32, text: u32) -> Answer {
    let strings = guest.host.arguments.clone();
    put_strings(guest, &strings, table, text)
}

fn environ_sizes_get(guest: &mut Guest<'_>, count: u32, size: u32) -> Answer {
    let (strings, bytes) = sizes(&guest.host.environment);
    guest.put_size(count, strings)?;
    guest.put_size(size, bytes)
}

fn environ_get(guest: &mut Guest<'_>, table: u32, text: u32) -> Answer {
    let strings = guest.host.environment.clone();
    put_strings(guest, &strings, table, text)
}

fn sizes(strings: &[Vec<u8>]) -> (usize, usize) {
    (strings.len(), strings.iter().map(|text| text.len() + 1).sum())
}

fn put_strings(guest: &mut Guest<'_>, strings: &[Vec<u8>], mut table: u32, mut text: u32) -> Answer {
    for string in strings {
        guest.put_u32(table, text)?;
        guest.put(text, &[string.as_slice(), b"\0"].concat())?;
        table = table.checked_add(4).ok_or(Errno::FAULT)?;
        let length = u32::try_from(string.len() + 1).map_err(|_| Errno::OVERFLOW)?;
        text = text.checked_add(length).ok_or(Errno::FAULT)?;
    }
    Ok(())
}

fn clock_res_get(guest: &mut Guest<'_>, clock: u32, out: u32) -> Answer {
    if clock > 3 {
        return Err(Errno::INVAL);
    }
    guest.put_u64(out, 1000)
}

fn clock_time_get(guest: &mut Guest<'_>, clock: u32, _precision: u64, out: u32) -> Answer {
    let now = match clock {
        0 => crate::clock::nanoseconds(guest.host.clock.wall()),
        // What it used of the processor is not told: it differs between runs.
        1..=3 => guest.host.clock.monotonic(),
        _ => return Err(Errno::INVAL),
    };
    guest.put_u64(out, now)
}

fn random_get(guest: &mut Guest<'_>, at: u32, length: u32) -> Answer {
    Ok(guest.host.random.fill(slice_mut(guest.memory, at, length)?)?)
}

fn sched_yield(_guest: &mut Guest<'_>) -> Answer {
    rustix::thread::sched_yield();
    Ok(())
}

fn proc_raise(_guest: &mut Guest<'_>, _signal: u32) -> Answer {
    Err(Errno::NOSYS)
}

fn sock_accept(guest: &mut Guest<'_>, fd: u32, _flags: u32, _out: u32) -> Answer {
    no_socket(guest, fd)
}

fn sock_recv(guest: &mut Guest<'_>, fd: u32, _: u32, _: u32, _: u32, _: u32, _: u32) -> Answer {
    no_socket(guest, fd)
}

fn sock_send(guest: &mut Guest<'_>, fd: u32, _: u32, _: u32, _: u32, _: u32) -> Answer {
    no_socket(guest, fd)
}

fn sock_shutdown(guest: &mut Guest<'_>, fd: u32, _how: u32) -> Answer {
    no_socket(guest, fd)
}

fn no_socket(guest: &Guest<'_>, fd: u32) -> Answer {
    guest.host.table.get(fd)?;
    Err(Errno::NOTSOCK)
}
