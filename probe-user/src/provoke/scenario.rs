//! The scenarios by name: which memory, which references, and what reclaim makes of them.

use std::path::PathBuf;

use nix::unistd::{getpid, gettid};

use super::cgroup::Cgroup;
use super::error::{Error, Result};
use super::evidence::{PageTable, Pages, Snapshot, free_swap_pages};
use super::memory::{Memory, Region, default_directory};
use super::reclaim::{CpuPin, pageout};
use super::reference::{Reference, References, Subset};
use super::subscriber::Subscriber;
use super::truth::{Evidence, Expectation, Truth, Verdict};

/// A scenario: memory, references on some of its pages, and what becomes of both kinds of
/// pages when MADV_PAGEOUT reclaims them.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, such as `memfd-pin`.
    pub name: &'static str,
    /// What the memory is.
    pub memory: Memory,
    /// How references are taken.
    pub reference: Reference,
    /// On which pages.
    pub subset: Subset,
    /// The verdict of every unmap of a referenced page; None where such a page isn't unmapped
    /// at all.
    pub referenced: Option<Verdict>,
    /// One line for people.
    pub summary: &'static str,
}

macro_rules! scenarios {
    ($($name:literal $memory:ident $reference:ident $subset:ident $verdict:expr, $summary:literal;)*) => {
        &[$(Scenario {
            name: $name,
            memory: Memory::$memory,
            reference: Reference::$reference,
            subset: Subset::$subset,
            referenced: $verdict,
            summary: $summary,
        }),*]
    };
}

/// Every scenario.
pub static SCENARIOS: &[Scenario] = scenarios! {
    "memfd-pin" Memfd IoUring All Some(Verdict::FutilePinned),
        "a memfd that io_uring pins: unmapped in vain, each time";
    "memfd-get" Memfd Vmsplice All Some(Verdict::FutileReferenced),
        "a memfd in pipes: unmapped in vain, each time";
    "anon-get" Anon Vmsplice All Some(Verdict::FutileReferenced),
        "anonymous memory in pipes: unmapped into the swap cache in vain";
    "file-get" File Vmsplice All Some(Verdict::FutileReferenced),
        "a clean file in pipes: unmapped in vain, __remove_mapping fails";
    "anon-pin" Anon IoUring All None,
        "anonymous memory that io_uring pins: reclaim sees it and doesn't unmap";
    "lazyfree-get" Lazyfree Vmsplice All Some(Verdict::Restored),
        "MADV_FREE memory in pipes: notified in vain, nothing unmapped";
    "lazyfree-pin" Lazyfree IoUring All Some(Verdict::Restored),
        "MADV_FREE memory that io_uring pins: notified in vain, nothing unmapped";
    "memfd-half-pin" Memfd IoUring EverySecond Some(Verdict::FutilePinned),
        "a memfd, every second page pinned: an exact split";
    "memfd-half-get" Memfd Vmsplice EverySecond Some(Verdict::FutileReferenced),
        "a memfd, every second page in a pipe: an exact split";
    "anon-half-get" Anon Vmsplice EverySecond Some(Verdict::FutileReferenced),
        "anonymous memory, every second page in a pipe: an exact split";
    "file-half-get" File Vmsplice EverySecond Some(Verdict::FutileReferenced),
        "a clean file, every second page in a pipe: an exact split";
    "memfd-none" Memfd None None None,
        "a memfd nobody references: swapped out, not futile";
    "anon-none" Anon None None None,
        "anonymous memory nobody references: swapped out, not futile";
    "file-none" File None None None,
        "a clean file nobody references: freed";
    "lazyfree-none" Lazyfree None None None,
        "MADV_FREE memory nobody references: freed";
};

/// How to run a scenario.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many pages the memory has.
    pub pages: usize,
    /// How often it is touched and reclaimed.
    pub rounds: u32,
    /// Where files are made; must be on a disk file system for the `file-…` scenarios.
    pub directory: PathBuf,
    /// Whether to make a KVM virtual machine where possible, so that somebody listens to this
    /// process's MMU notifiers.
    pub subscriber: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pages: 256,
            rounds: 4,
            directory: default_directory(),
            subscriber: true,
        }
    }
}

/// What a run leaves behind: the truth, and what still holds the memory. Dropping it gives
/// everything back.
#[derive(Debug)]
pub struct Outcome {
    /// What was done, and what must therefore be seen.
    pub truth: Truth,
    _references: References,
    _region: Region,
    _subscriber: Option<Subscriber>,
}

impl Scenario {
    /// The scenario of that name.
    pub fn named(name: &str) -> Result<&'static Self> {
        SCENARIOS
            .iter()
            .find(|scenario| scenario.name == name)
            .ok_or_else(|| Error::UnknownScenario {
                name: name.to_owned(),
                known: SCENARIOS
                    .iter()
                    .map(|s| s.name)
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// How many of `pages` pages are referenced.
    #[must_use]
    pub fn referenced_pages(&self, pages: usize) -> usize {
        self.subset.count(pages)
    }

    /// The verdicts allowed for the unmap of a page without references; exactly one of them
    /// for each.
    #[must_use]
    pub fn unreferenced(&self, swap: bool) -> &'static [Verdict] {
        match self.memory {
            Memory::File | Memory::Lazyfree => &[Verdict::Freed],
            // A swap device that is done at once lets the folio be freed in the same pass.
            Memory::Anon | Memory::Memfd if swap => &[Verdict::Freed, Verdict::Writeback],
            Memory::Memfd => &[Verdict::Kept],
            Memory::Anon => &[],
        }
    }

    /// What must be seen, for so many pages and rounds.
    #[must_use]
    pub fn expectations(&self, pages: usize, rounds: u32, swap: bool) -> Vec<Expectation> {
        let rounds = u64::from(rounds);
        let referenced = self.referenced_pages(pages) as u64;
        let others = pages as u64 - referenced;
        let mut all = Vec::new();
        let mut expect = |verdicts: &[Verdict], folios: u64| {
            if folios > 0 && !verdicts.is_empty() {
                all.push(Expectation {
                    reclaimer: "madvise".to_owned(),
                    memory: self.memory.word().to_owned(),
                    order: 0,
                    verdicts: verdicts.to_vec(),
                    min: folios,
                    max: folios,
                });
            }
        };
        expect(self.referenced.as_slice(), referenced * rounds);
        expect(self.unreferenced(swap), others * rounds);
        all
    }

    /// Runs it in the calling thread, which stays on one CPU meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::NotApplicable`] where the machine lacks something (swap for anonymous memory,
    /// io_uring, a disk file system); others where a system call fails that should not.
    pub fn run(&self, options: &Options) -> Result<Outcome> {
        check_range("the number of pages", options.pages as u64, 1 << 24)?;
        check_range("the number of rounds", u64::from(options.rounds), 1 << 20)?;
        let swap_pages = free_swap_pages();
        // Twice as much, so that running out of it midway doesn't change the outcome.
        let swap = swap_pages >= 2 * options.pages as u64;
        if self.memory == Memory::Anon && !swap {
            return Err(Error::lacking(
                format!(
                    "{swap_pages} pages of swap are free, and without swap reclaim leaves anonymous memory alone"
                ),
                "add swap (zram will do), or ask for fewer pages",
            ));
        }
        let (subscriber, no_subscriber) = match options.subscriber.then(Subscriber::open) {
            None => (None, Some("not asked for".to_owned())),
            Some(Ok(subscriber)) => (Some(subscriber), None),
            Some(Err(reason)) => (None, Some(reason)),
        };
        let cpu = CpuPin::here()?;
        let region = Region::new(self.memory, options.pages, &options.directory)?;
        region.touch(1);
        let references = References::take(&region, self.reference, self.subset)?;
        let evidence = self.rounds(options.rounds, &region)?;

        let expected = self.expectations(options.pages, options.rounds, swap);
        let unmaps_expected = expected.iter().map(|expectation| expectation.min).sum();
        let mut truth = Truth {
            schema: Truth::SCHEMA.to_owned(),
            scenario: self.name.to_owned(),
            pid: getpid().as_raw().unsigned_abs(),
            tid: gettid().as_raw().unsigned_abs(),
            comm: own_comm(),
            cgroup: Cgroup::of_self().map(|cgroup| cgroup.name()),
            cpu: cpu.cpu() as u32,
            memory: self.memory,
            reference: self.reference,
            subset: self.subset,
            page_size: region.mapping().page_size() as u64,
            pages: options.pages as u64,
            rounds: options.rounds,
            referenced_pages: references.pages() as u64,
            holders: references.holders() as u64,
            swap,
            subscriber: subscriber.is_some(),
            no_subscriber,
            unmaps_expected,
            notifier_calls_expected: subscriber.is_some().then_some(unmaps_expected),
            remove_mapping_failures_expected: self.remove_mapping_failures(&expected),
            expected,
            evidence,
            disagreements: Vec::new(),
        };
        truth.disagreements = truth.disagree();
        Ok(Outcome {
            truth,
            _references: references,
            _region: region,
            _subscriber: subscriber,
        })
    }

    /// The rounds: touch, reclaim, look.
    fn rounds(&self, rounds: u32, region: &Region) -> Result<Evidence> {
        let table = PageTable::open()?;
        let mut chosen = vec![false; region.pages()];
        for page in self.subset.runs(region.pages()).into_iter().flatten() {
            chosen[page] = true;
        }
        let others = region.runs_outside(self.subset);
        let [mut referenced, mut unreferenced] = [Pages::default(); 2];
        let mut damaged_pages = 0;
        let before = Snapshot::take();
        for round in 0..rounds {
            let stamp = (round % 250) as u8 + 1;
            region.touch(stamp);
            region.give_back()?;
            pageout(region)?;
            let [now_referenced, now_unreferenced] = table.look(region, |page| chosen[page])?;
            referenced += now_referenced;
            unreferenced += now_unreferenced;
            damaged_pages += region.read_back(&others, stamp);
            region.forget(&others)?;
        }
        Ok(Evidence {
            referenced,
            unreferenced,
            damaged_pages,
            change: Snapshot::take().since(&before),
        })
    }

    /// How often `__remove_mapping` returns 0 for this memory. Only clean pages get that far.
    fn remove_mapping_failures(&self, expected: &[Expectation]) -> u64 {
        let futile = |expectation: &&Expectation| {
            expectation.verdicts == [Verdict::FutileReferenced] && self.memory == Memory::File
        };
        expected
            .iter()
            .filter(futile)
            .map(|expectation| expectation.min)
            .sum()
    }
}

fn check_range(what: &'static str, got: u64, most: u64) -> Result<()> {
    if got == 0 || got > most {
        return Err(Error::OutOfRange {
            what,
            got,
            allowed: "1 to some millions",
        });
    }
    Ok(())
}

/// The calling thread's name.
pub(crate) fn own_comm() -> String {
    // Not by nix's get_name: its buffer comes back empty from an optimised build.
    let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
    comm.trim_end_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for scenario in SCENARIOS {
            assert!(std::ptr::eq(
                Scenario::named(scenario.name).unwrap(),
                scenario
            ));
        }
        let error = Scenario::named("memfd-stapled").unwrap_err().to_string();
        assert!(
            error.contains("memfd-stapled") && error.contains("lazyfree-get"),
            "{error}"
        );
    }

    #[test]
    fn halves_split_exactly() {
        let half = Scenario::named("memfd-half-pin").unwrap();
        let expected = half.expectations(255, 3, true);
        assert_eq!(
            expected.iter().map(|e| (e.min, e.max)).collect::<Vec<_>>(),
            [(128 * 3, 128 * 3), (127 * 3, 127 * 3)]
        );
        assert_eq!(expected[0].verdicts, [Verdict::FutilePinned]);
        assert_eq!(expected[1].verdicts, [Verdict::Freed, Verdict::Writeback]);
    }

    #[test]
    fn pinned_anonymous_memory_is_not_unmapped() {
        assert!(
            Scenario::named("anon-pin")
                .unwrap()
                .expectations(10, 2, true)
                .is_empty()
        );
    }

    #[test]
    fn only_file_pages_reach_the_freeze() {
        let failures = |name: &str| {
            let scenario = Scenario::named(name).unwrap();
            scenario.remove_mapping_failures(&scenario.expectations(10, 2, true))
        };
        assert_eq!(failures("file-get"), 20);
        assert_eq!(failures("file-half-get"), 10);
        assert_eq!(
            failures("memfd-get") + failures("memfd-pin") + failures("file-none"),
            0
        );
    }

    #[test]
    fn zero_pages_is_refused() {
        let options = Options {
            pages: 0,
            ..Options::default()
        };
        assert!(SCENARIOS[0].run(&options).is_err());
    }
}
