//! Compiled code in the store: the record `wasm-code` of a key names the blob.
//!
//! Invariant: the key names everything that code depends on (the module's digest, the engine's settings, version and processor
//! features); code is used only after its digest was checked in this process, and comes into the store only from our own compiler.
//! Lock order: `running` of one key is held while a module is compiled; the other tables only for a moment.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{Hash, Hasher as _};
use std::io::{Read, Seek, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use wbuild_monitor::{Metered, ModuleCompiler, ModuleKind, ModuleRequest};
use wbuild_oci::{Digest, Hasher};
use wbuild_store::{Expected, Store};

use crate::compiler::{self, COMPILER_ARGUMENT};
use crate::engine;

/// The kind of the records that name code.
const RECORDS: &str = "wasm-code";
/// A module is at most this large, in bytes.
const MODULE: u64 = 512 << 20;
/// A module that compiles longer than this is told about.
const QUIET: Duration = Duration::from_secs(1);
/// How often a running compiler is looked at.
const TICK: Duration = Duration::from_millis(5);

/// Compiles modules and keeps their code in a store.
pub struct CodeStore {
    store: Store,
    /// The program that runs as compiler with [`COMPILER_ARGUMENT`].
    exe: PathBuf,
    running: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
    /// The digests of files that were read, as long as they are what they were.
    read: Mutex<HashMap<Identity, Digest>>,
    checked: Mutex<std::collections::HashSet<Digest>>,
}

/// A file, and the state of its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    file: (u64, u64),
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    /// Whether a later change would show: the kernel's times move in ticks of some milliseconds.
    fn is_settled(&self) -> bool {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        self.changed.0 < now.tv_sec - 1
    }
}

impl std::fmt::Debug for CodeStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeStore").field("exe", &self.exe).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CodeStore {
    /// Keeps code in `store`; `exe` is this program.
    #[must_use]
    pub fn new(store: Store, exe: PathBuf) -> Self {
        Self { store, exe, running: Mutex::default(), read: Mutex::default(), checked: Mutex::default() }
    }

    fn find(&self, request: &ModuleRequest<'_>) -> Result<OwnedFd, Failed> {
        let (digest, module) = self.module(request.module)?;
        let key = key(&digest, request.kind, request.metered)?;
        if let Some(code) = self.kept(&key)? {
            return Ok(code);
        }
        let turn = Arc::clone(lock(&self.running).entry(key).or_default());
        let _turn = lock(&turn);
        // Whoever had the turn before may have compiled it.
        if let Some(code) = self.kept(&key)? {
            return Ok(code);
        }
        let module = match module {
            Some(module) => module,
            None => copy(request.module)?.1,
        };
        let code = self.compile(request, module)?;
        let (blob, _) = self.store.ingest_from(&mut &code, Expected::anything()).map_err(Failed::store)?;
        self.store.put_record(RECORDS, &key, blob.to_string().as_bytes()).map_err(Failed::store)?;
        lock(&self.checked).insert(blob);
        self.open(&blob)
    }

    /// The digest of a module, and its bytes where they had to be read for it.
    fn module(&self, module: BorrowedFd<'_>) -> Result<(Digest, Option<File>), Failed> {
        let identity = identity(module)?;
        if let Some(digest) = lock(&self.read).get(&identity) {
            return Ok((*digest, None));
        }
        let (digest, copied) = copy(module)?;
        if identity.is_settled() {
            lock(&self.read).insert(identity, digest);
        }
        Ok((digest, Some(copied)))
    }

    /// The code under this key, if it is there and is what was written.
    fn kept(&self, key: &Digest) -> Result<Option<OwnedFd>, Failed> {
        let Some(record) = self.store.record(RECORDS, key).map_err(Failed::store)? else { return Ok(None) };
        let digest: Option<Digest> = std::str::from_utf8(&record).ok().and_then(|text| text.parse().ok());
        let Some(digest) = digest else { return Ok(None) };
        if !self.store.has(&digest).map_err(Failed::store)? {
            return Ok(None);
        }
        if !lock(&self.checked).contains(&digest) {
            let mut file = self.store.blob(&digest).map_err(Failed::store)?;
            // Damaged code is made anew, in its place.
            if hash(&mut file)? != digest {
                return Ok(None);
            }
            lock(&self.checked).insert(digest);
        }
        self.open(&digest).map(Some)
    }

    fn open(&self, digest: &Digest) -> Result<OwnedFd, Failed> {
        Ok(self.store.blob(digest).map_err(Failed::store)?.into_std().into())
    }

    /// Has the compiler compile `module`; gives the code.
    fn compile(&self, request: &ModuleRequest<'_>, module: File) -> Result<File, Failed> {
        let (mut code, errors) = (memory("code")?, memory("errors")?);
        let size = module.metadata()?.len();
        let mut command = Command::new(&self.exe);
        command.arg(COMPILER_ARGUMENT).args(compiler::words(request.kind, request.metered)).env_clear();
        command.stdin(Stdio::from(module));
        command.stdout(Stdio::from(code.try_clone()?)).stderr(Stdio::from(errors.try_clone()?));
        let mut child = command.spawn()?;
        drop(command);
        let begun = Instant::now();
        let mut told = false;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if (request.abandoned)() {
                child.kill()?;
                child.wait()?;
                return Err(Failed("nobody waits for it any more".into()));
            }
            if !told && begun.elapsed() > QUIET {
                told = true;
                (request.tell)(&format!("wbuild: compiling {} ({})", request.name, megabytes(size)));
            }
            std::thread::sleep(TICK);
        };
        if !status.success() {
            let mut text = String::new();
            (&errors).rewind()?;
            (&errors).take(1 << 16).read_to_string(&mut text)?;
            let text = if text.is_empty() { format!("its compiler ended with {status}") } else { text };
            return Err(Failed(format!("cannot compile: {text}")));
        }
        if told {
            let seconds = begun.elapsed().as_secs();
            (request.tell)(&format!("wbuild: compiled {} in {seconds} s; the store keeps it", request.name));
        }
        code.rewind()?;
        Ok(code)
    }
}

impl ModuleCompiler for CodeStore {
    fn code(&self, request: &ModuleRequest<'_>) -> Result<OwnedFd, String> {
        self.find(request).map_err(|failed| failed.0)
    }
}

/// Why there is no code, as a line for the user.
#[derive(Debug)]
struct Failed(String);

impl Failed {
    fn store(error: wbuild_store::StoreError) -> Self {
        Self(format!("cannot keep its code in the store: {error}"))
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self(format!("cannot compile: {error}"))
    }
}

impl From<rustix::io::Errno> for Failed {
    fn from(errno: rustix::io::Errno) -> Self {
        std::io::Error::from(errno).into()
    }
}

fn identity(module: BorrowedFd<'_>) -> Result<Identity, Failed> {
    let stat = rustix::fs::fstat(module)?;
    if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > MODULE {
        return Err(Failed(format!("it is larger than {}", megabytes(MODULE))));
    }
    let nanoseconds = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Ok(Identity {
        file: (stat.st_dev, stat.st_ino),
        size: stat.st_size,
        modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
        changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
    })
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / 1_000_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

fn memory(name: &str) -> Result<File, Failed> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

/// A copy that nobody else changes, and its digest.
fn copy(module: BorrowedFd<'_>) -> Result<(Digest, File), Failed> {
    let (mut copied, mut hasher) = (memory("module")?, Hasher::new());
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        match rustix::io::pread(module, buffer.as_mut_slice(), at) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                copied.write_all(&buffer[..read])?;
                at += read as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if at > MODULE {
            return Err(Failed(format!("it is larger than {}", megabytes(MODULE))));
        }
    }
    copied.rewind()?;
    Ok((hasher.finish(), copied))
}

fn hash(file: &mut impl Read) -> Result<Digest, Failed> {
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What code depends on, as one digest.
fn key(module: &Digest, kind: ModuleKind, metered: Metered) -> Result<Digest, Failed> {
    let engine = engine::engine(metered)
        .map_err(|error| Failed(format!("this machine cannot run wasm modules: {error}")))?;
    let mut sink = Sink(Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut sink);
    sink.write(module.to_string().as_bytes());
    sink.write(compiler::words(kind, metered).join(" ").as_bytes());
    Ok(sink.0.finish())
}

/// Feeds what is hashed into a digest, each piece with its length.
struct Sink(Hasher);

impl std::hash::Hasher for Sink {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
