//! Which cores the processes may use: the workers' are for the dataplane alone, where there are
//! others. Whatever else runs on a worker's core is time that its packets wait.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process was given, and those of them that are no worker's.
///
/// A child inherits the cores of the thread that starts it, so that this thread changes its own
/// for the moment. A system that forbids it leaves everything on all cores, which works too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cores {
    given: CpuSet,
    rest: CpuSet,
}

impl Cores {
    /// Keeps this thread, and what it starts, off the cores of `workers`.
    pub(super) fn leave_to(workers: &[u16]) -> Cores {
        let given = sched_getaffinity(None).unwrap_or_default();
        let rest = less(given, workers);
        if given.count() > 0 {
            let _ = sched_setaffinity(None, &rest);
        }
        Cores { given, rest }
    }

    /// Runs `start` with all cores; what it starts keeps them.
    pub(super) fn with_all<R>(&self, start: impl FnOnce() -> R) -> R {
        if self.given == self.rest {
            return start();
        }
        let _ = sched_setaffinity(None, &self.given);
        let result = start();
        let _ = sched_setaffinity(None, &self.rest);
        result
    }
}

/// `given` less the cores of `workers`; all of them when none would be left.
fn less(given: CpuSet, workers: &[u16]) -> CpuSet {
    let mut rest = given;
    for &core in workers.iter().filter(|&&core| usize::from(core) < CpuSet::MAX_CPU) {
        rest.unset(core.into());
    }
    if rest.count() == 0 { given } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(numbers: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        numbers.iter().for_each(|&core| set.set(core));
        set
    }

    #[test]
    fn workers_have_their_cores_to_themselves_where_there_are_others() {
        assert_eq!(less(cores(&[0, 1, 2]), &[1, 2]), cores(&[0]));
        assert_eq!(less(cores(&[0, 1]), &[7, u16::MAX]), cores(&[0, 1]));
        assert_eq!(less(cores(&[0, 1]), &[0, 1]), cores(&[0, 1]), "there are no others");
    }

    #[test]
    fn a_thread_gets_its_cores_back() {
        let given = sched_getaffinity(None).unwrap();
        let first = u16::try_from((0..).find(|&core| given.is_set(core)).unwrap()).unwrap();
        std::thread::spawn(move || {
            let cores = Cores::leave_to(&[first]);
            let rest = sched_getaffinity(None).unwrap();
            assert_eq!(rest, less(given, &[first]));
            assert_eq!(cores.with_all(|| sched_getaffinity(None).unwrap()), given);
            assert_eq!(sched_getaffinity(None).unwrap(), rest);
        })
        .join()
        .unwrap();
    }
}
