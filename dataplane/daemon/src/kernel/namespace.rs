//! For tests: a network namespace of the test's own.

use std::process::Command;

/// Runs `test` on a thread in a new network namespace, which goes when the thread ends. Prints
/// why and returns where that is not permitted.
pub(super) fn run(test: impl FnOnce() + Send) {
    let thread = || {
        #[expect(deprecated, reason = "unsound with FILES only, which is not asked for")]
        if let Err(error) = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET) {
            eprintln!("skipped: needs a network namespace of its own, so run it as root ({error})");
            return;
        }
        test();
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(thread).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs a command in the calling thread's namespace and returns what it prints.
pub(super) fn command(line: &str) -> String {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a command line has a program");
    let output = Command::new(program).args(words).output().expect(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("its output is text")
}

/// Runs the command lines of `script` one by one.
pub(super) fn commands(script: &str) {
    script.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| {
        command(line);
    });
}
