//! Compiles the peers' side in C against the system's DPDK.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=peer/peer.c");
    let dpdk = pkg_config::Config::new()
        .atleast_version("22.11")
        .cargo_metadata(false)
        .probe("libdpdk")
        .expect("libdpdk-dev 22.11 or later is needed, see `make deps`");
    let flags = Command::new("pkg-config")
        .args(["--cflags", "libdpdk"])
        .output()
        .expect("pkg-config was found a moment ago");
    let mut peer = cc::Build::new();
    peer.file("peer/peer.c").opt_level(3).warnings(false);
    for flag in String::from_utf8_lossy(&flags.stdout).split_whitespace() {
        peer.flag(flag);
    }
    peer.compile("sluice_bench_fib_peer");
    for path in &dpdk.link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    for library in ["rte_fib", "rte_lpm", "rte_rib", "rte_eal"] {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}
