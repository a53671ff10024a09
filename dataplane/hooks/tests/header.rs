//! `include/sluice/hook.h` is made of `src/abi/types.rs` and checked in: authors need no Rust.

use std::path::Path;

const BEFORE: &str = "\
/*
 * Hooks of Sluice in C. Made of dataplane/hooks/src/abi/types.rs: do not edit.
 *
 * A hook is a shared object that exports `sluice_hook_program`:
 *
 *     cc -shared -fPIC -O2 -Iinclude -o mine.so mine.c
 *     sluice hook load ./mine.so --event physical-in
 *
 * docs/c-hooks.md says how, and what a shared object can break.
 */";

const AFTER: &str = "\
#ifdef __cplusplus
extern \"C\"
#else
extern
#endif
const struct sluice_hook_program sluice_hook_program;";

#[test]
fn the_header_says_what_the_types_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        cpp_compat: true,
        header: Some(BEFORE.into()),
        trailer: Some(AFTER.into()),
        include_guard: Some("SLUICE_HOOK_H".into()),
        after_includes: Some("\nstruct sluice_packet;".into()),
        style: cbindgen::Style::Tag,
        usize_is_size_t: true,
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        documentation_style: cbindgen::DocumentationStyle::C99,
        line_length: 100,
        tab_width: 4,
        ..cbindgen::Config::default()
    };
    let export = ["sluice_packet", "sluice_hook_program", "sluice_calls", "sluice_load"];
    let config = cbindgen::Config {
        export: cbindgen::ExportConfig {
            include: export.map(str::to_owned).to_vec(),
            exclude: vec!["PROGRAM_SYMBOL".into(), "MODULE_SYMBOL".into()],
            ..cbindgen::ExportConfig::default()
        },
        ..config
    };
    let source = root.join("src/abi/types.rs");
    let header = cbindgen::Builder::new().with_src(source).with_config(config).generate().unwrap();
    let mut made = Vec::new();
    header.write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = root.join("../../include/sluice/hook.h");
    if std::env::var_os("SLUICE_WRITE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let is = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        is == made,
        "include/sluice/hook.h is out of date: SLUICE_WRITE_HEADER=1 cargo test -p sluice-hooks \
         --test header"
    );
}
