//! Runs a plan: stages, steps, commits, outputs.
//!
//! The same inputs give the same digests whoever builds: nothing here reads a clock, an environment or an account but through
//! the request. Engines and registries are traits; host directories are capabilities.

#![forbid(unsafe_code)]

mod attest;
mod background;
mod cache;
mod check;
mod checkout;
mod commit;
mod compare;
mod context;
mod copy;
mod deliver;
mod epoch;
mod error;
mod evidence;
mod execute;
mod export;
mod files;
mod image;
mod images;
mod kept;
mod mounts;
mod parked;
mod permission;
mod progress;
mod reads;
mod request;
mod run;
mod search;
mod shared_cache;
mod solve;
mod sources;
mod stage;
mod transfer;
mod tree;
mod unpack;
mod users;

pub use attest::{
    ATTESTATION, Attest, BUILD_TYPE, ENVELOPE, Envelope, PAYLOAD_TYPE, PREDICATE_ANNOTATION, PREDICATE_TYPE,
    Provenance, ProvenanceMode, REFERENCE_DIGEST, REFERENCE_TYPE, STATEMENT, Sign, Signature, pae,
};
pub use cache::{
    CacheDest, CacheEntry, CacheExport, CacheMode, CacheRules, CacheSource, Decision, ExportErrors,
    LastBuild, NamedImages, NoCache, PruneLimits, Pruned, ReadSets, cache_entries, prune, verify_blobs,
};
pub use check::{Checked, check, outline, targets};
pub use commit::CommitError;
pub use compare::{Difference, Place, compare};
pub use deliver::Delivery;
pub use error::{BuildError, Disk, FilesError, Ignored};
pub use evidence::{
    AccountedDenial, Audit, AuditLine, Auditing, Executed, FileSet, Files as AccountedFiles, Host,
    ListedFile, Rule, StepAccount, StepExit, StepLimit, UsedPolicy, Written, policy_digest,
};
pub use execute::build;
pub use mounts::{PrunedMounts, StoredMount, cache_mounts, prune_mounts};
pub use permission::{DeniedLine, SubmoduleGate, denied_by};
pub use progress::{Event, Outcome, Progress, Vertex};
pub use reads::lifetime;
pub use request::{
    Archive, BuildRequest, Built, ContextDir, EpochRule, GitMaterial, MediaTypes, NamedContext, Output,
    TreeSharing, Wiring,
};
pub use run::HOSTNAME;
pub use tree::TreeError;
pub use unpack::{Contents, FileTimes, unpack_context};
pub use wbuild_layer::{Compression, LevelError, Packing, ReadError};
pub use wbuild_monitor::{Cancel, Errno, EvidenceDetail, Limit, LimitedResource, SecretBytes, Stream};
pub use wbuild_plan::{RunNetwork, ram_in_bytes};
pub use wbuild_rootfs::MaterialiseError;
pub use wbuild_ssh::{Agent, AgentError};
