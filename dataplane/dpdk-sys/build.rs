//! Finds the system's DPDK, compiles the shim and generates the bindings.
//!
//! Only what is listed in [`FUNCTIONS`] and [`TYPES`] is bound: DPDK's headers as a whole hold types
//! that Rust cannot express (a packed type with an aligned member is E0588), and what is not bound
//! cannot break with the next release.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

/// The oldest DPDK that the bindings are written for: the LTS of Debian 12.
const FLOOR: &str = "22.11";

/// The libraries that the listed functions are in. `rte_log` is one of its own since 24.03.
const LIBRARIES: &[&str] =
    &["rte_bpf", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_eal", "rte_log"];

const FUNCTIONS: &[&str] = &[
    "sluice_.*",
    "rte_bpf_destroy",
    "rte_bpf_exec",
    "rte_dev_probe",
    "rte_dev_remove",
    "rte_eal_cleanup",
    "rte_eal_get_runtime_dir",
    "rte_eal_hotplug_remove",
    "rte_eal_init",
    "rte_eth_allmulticast_enable",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_default_mac_addr_set",
    "rte_eth_dev_get_name_by_port",
    "rte_eth_dev_info_get",
    "rte_eth_dev_rss_hash_conf_get",
    "rte_eth_dev_rss_reta_query",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_find_next",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_disable",
    "rte_eth_promiscuous_enable",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_queue_setup",
    "rte_get_tsc_hz",
    "rte_malloc_get_socket_stats",
    "rte_mempool_avail_count",
    "rte_mempool_free",
    "rte_pktmbuf_free_bulk",
    "rte_strerror",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_version",
];

const TYPES: &[&str] = &[
    "rte_ether_addr",
    "rte_eth_conf",
    "rte_eth_dev_info",
    "rte_eth_rss_conf",
    "rte_eth_rss_reta_entry64",
    "rte_eth_rxconf",
    "rte_eth_stats",
    "rte_eth_txconf",
    "rte_malloc_socket_stats",
    "sluice_layout",
];

/// Types that are only ever pointed at; the crate declares them by hand.
const OPAQUE: &[&str] = &["rte_bpf", "rte_mbuf", "rte_mempool", "rte_device"];

fn main() {
    println!("cargo::rerun-if-changed=shim/shim.h");
    println!("cargo::rerun-if-changed=shim/shim.c");

    let dpdk = match pkg_config::Config::new()
        .atleast_version(FLOOR)
        .cargo_metadata(false)
        .probe("libdpdk")
    {
        Ok(dpdk) => dpdk,
        Err(error) => {
            eprintln!(
                "\nsluice-dpdk-sys needs the development files of DPDK {FLOOR} or later.\n\
                 Debian and Ubuntu: apt-get install libdpdk-dev, or `make deps`.\n\
                 A DPDK of your own: put the directory of its libdpdk.pc in PKG_CONFIG_PATH.\n\n\
                 {error}"
            );
            exit(1);
        }
    };

    let mut flags: Vec<String> =
        dpdk.include_paths.iter().map(|path| format!("-I{}", path.display())).collect();
    flags.extend(other_flags());

    let mut shim = cc::Build::new();
    shim.file("shim/shim.c").include("shim").opt_level(3).warnings(false);
    for flag in &flags {
        shim.flag(flag);
    }
    shim.compile("sluice_dpdk_shim");

    for path in &dpdk.link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    for library in LIBRARIES.iter().filter(|wanted| dpdk.libs.iter().any(|lib| lib == *wanted)) {
        println!("cargo::rustc-link-lib=dylib={library}");
    }

    let mut bindings = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(&flags)
        .allowlist_recursively(true)
        .allowlist_var("SLUICE_.*")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_default(true)
        .generate_comments(false)
        .layout_tests(true);
    for function in FUNCTIONS {
        bindings = bindings.allowlist_function(function);
    }
    for name in TYPES {
        bindings = bindings.allowlist_type(name);
    }
    for name in OPAQUE {
        bindings = bindings.blocklist_type(name);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    bindings
        .generate()
        .expect(
            "bindgen over the DPDK headers (is libclang installed? apt-get install libclang-dev)",
        )
        .write_to_file(out.join("bindings.rs"))
        .expect("writing the bindings to OUT_DIR");
}

/// The compiler flags of libdpdk that are neither include paths nor libraries
/// (`-include rte_config.h -march=...`), which the pkg-config crate does not hand out.
fn other_flags() -> Vec<String> {
    println!("cargo::rerun-if-env-changed=PKG_CONFIG");
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let output = Command::new(program)
        .args(["--cflags-only-other", "libdpdk"])
        .output()
        .expect("pkg-config was found a moment ago");
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}
