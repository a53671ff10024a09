//! The record of what an interface was before it was taken: a file, so that it outlives a SIGKILL.
//!
//! It is written (to a temporary file, then renamed) before anything is changed and removed when
//! all is restored. One that is found when the interface is taken again therefore tells the
//! original state better than the interface does, provided that it is the same interface.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use serde::{Deserialize, Serialize};

use super::KernelError;

/// An interface's state before it was taken.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Original {
    /// Which interface this is about; see [`identity`].
    pub(super) identity: String,
    /// Flags as the kernel has them.
    pub(super) flags: u32,
    pub(super) mtu: u32,
    pub(super) mac: Option<[u8; 6]>,
    /// How IPv6 link-local addresses are made, as the kernel numbers it.
    pub(super) address_generation: Option<u8>,
    /// Values under `/proc/sys/net`, by path below it.
    pub(super) sysctls: BTreeMap<String, String>,
    pub(super) addresses: Vec<Saved>,
    pub(super) routes: Vec<Saved>,
}

/// An address or a route, with everything that the kernel said of it: the rtnetlink message in
/// hexadecimal digits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Saved(String);

impl Saved {
    pub(super) fn new(message: RouteNetlinkMessage) -> Saved {
        let mut packet = NetlinkMessage::from(message);
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        Saved(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The message, or `None` if the record was damaged.
    pub(super) fn message(&self) -> Option<RouteNetlinkMessage> {
        let digits = self.0.as_bytes().chunks_exact(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Vec<u8> = digits.map(byte).collect::<Option<_>>()?;
        match NetlinkMessage::deserialize(&bytes).ok()?.payload {
            NetlinkPayload::InnerMessage(message) => Some(message),
            _ => None,
        }
    }
}

/// What tells an interface from another of the same name: the boot, the network namespace and the
/// index, which a namespace gives out once.
pub(super) fn identity(index: u32) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/thread-self/ns/net").unwrap_or_default();
    format!("{} {} {index}", boot.trim(), namespace.display())
}

/// Where the record of an interface is kept.
pub(super) fn path(state_dir: &Path, name: &str) -> PathBuf {
    directory(state_dir).join(format!("{name}.json"))
}

fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("taken")
}

/// Reads a record. One that is absent or damaged is `None`: the present state is the best guess
/// then.
pub(super) fn load(path: &Path) -> Option<Original> {
    let bytes = fs::read(path).ok()?;
    serde_json::from_slice(&bytes)
        .inspect_err(|error| {
            let path = path.display();
            tracing::warn!("ignoring the record `{path}` of an interface's state: {error}");
        })
        .ok()
}

/// Writes a record, whole or not at all.
pub(super) fn store(path: &Path, original: &Original) -> Result<(), KernelError> {
    let write = || -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let temporary = path.with_extension("json.new");
        fs::write(&temporary, serde_json::to_vec_pretty(original)?)?;
        fs::rename(temporary, path)
    };
    write().map_err(|source| KernelError::Record { path: path.to_owned(), source })
}

/// Removes a record; one that is gone already is fine.
pub(super) fn remove(path: &Path) -> Result<(), KernelError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(KernelError::Record { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// The interfaces that there are records of.
pub(super) fn names(state_dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory(state_dir)) else { return Vec::new() };
    let name = |entry: fs::DirEntry| {
        let file = entry.file_name();
        Some(file.to_str()?.strip_suffix(".json")?.to_owned())
    };
    entries.flatten().filter_map(name).collect()
}
