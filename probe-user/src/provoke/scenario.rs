//! The scenarios by name: their memory, their references, and how reclaim treats them.

use std::path::PathBuf;

use nix::unistd::{getpid, gettid};

use super::cgroup::Cgroup;
use super::comm::own_comm;
use super::counters::{SystemCounters, free_swap_pages};
use super::error::{Error, Result};
use super::page_table::{PageTable, Pages};
use super::reclaim::{CpuPin, pageout};
use super::reference::{Reference, References};
use super::region::{Backing, Region, default_directory};
use super::subscriber::KvmSubscriber;
use super::subset::Subset;
use super::truth::{Expectation, ExpectedVerdict, PageEvidence, Truth};

/// A scenario: memory, references on some of its pages, and so the fate of both kinds of pages when
/// MADV_PAGEOUT reclaims them.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The name, such as `memfd-pin`.
    pub name: &'static str,
    /// What backs the memory.
    pub memory: Backing,
    /// How references are taken.
    pub reference: Reference,
    /// The pages that are referenced.
    pub subset: Subset,
    /// One line for people.
    pub summary: &'static str,
}

macro_rules! scenarios {
    ($($name:literal $memory:ident $reference:ident $subset:ident $summary:literal)*) => {
        &[$(Scenario {
            name: $name,
            memory: Backing::$memory,
            reference: Reference::$reference,
            subset: Subset::$subset,
            summary: $summary,
        }),*]
    };
}

/// Every scenario.
pub static SCENARIOS: &[Scenario] = scenarios! {
    "memfd-pin" Memfd IoUring All "a memfd pinned by io_uring: every unmap is futile"
    "memfd-get" Memfd Vmsplice All "a memfd in pipes: every unmap is futile"
    "anon-get" Anon Vmsplice All "anonymous memory in pipes: futile, left in the swap cache"
    "file-get" File Vmsplice All "a clean file in pipes: futile, __remove_mapping fails"
    "anon-pin" Anon IoUring All "anonymous memory pinned by io_uring: reclaim leaves it mapped"
    "lazyfree-get" Lazyfree Vmsplice All "MADV_FREE memory in pipes: notified, but still mapped"
    "lazyfree-pin" Lazyfree IoUring All
        "MADV_FREE memory pinned by io_uring: notified, but still mapped"
    "memfd-half-pin" Memfd IoUring EverySecond "a memfd, every second page pinned: an exact split"
    "memfd-half-get" Memfd Vmsplice EverySecond
        "a memfd, every second page in a pipe: an exact split"
    "anon-half-get" Anon Vmsplice EverySecond
        "anonymous memory, every second page in a pipe: an exact split"
    "file-half-get" File Vmsplice EverySecond
        "a clean file, every second page in a pipe: an exact split"
    "memfd-none" Memfd None None "a memfd without references: swapped out, not futile"
    "anon-none" Anon None None "anonymous memory without references: swapped out, not futile"
    "file-none" File None None "a clean file without references: freed"
    "lazyfree-none" Lazyfree None None "MADV_FREE memory without references: freed"
};

/// How to run a scenario.
#[derive(Clone, Debug)]
pub struct ScenarioOptions {
    /// The number of pages.
    pub pages: usize,
    /// How many times the memory is touched and reclaimed.
    pub rounds: u32,
    /// The directory in which files are made; on a disk file system for the `file-…` scenarios.
    pub directory: PathBuf,
    /// Whether to make a KVM virtual machine where possible, as a subscriber to this process's MMU
    /// notifiers.
    pub subscriber: bool,
}

impl Default for ScenarioOptions {
    fn default() -> Self {
        Self {
            pages: 256,
            rounds: 4,
            directory: default_directory(),
            subscriber: true,
        }
    }
}

/// The result of a run: the truth, and whatever still holds the memory. Dropping it gives
/// everything back.
#[derive(Debug)]
pub struct ScenarioRun {
    /// What the run did, and what a probe must therefore have seen.
    pub truth: Truth,
    _references: References,
    _region: Region,
    _subscriber: Option<KvmSubscriber>,
}

impl Scenario {
    /// Finds a scenario by its name.
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

    /// Returns how many of `pages` pages are referenced.
    #[must_use]
    pub fn referenced_pages(&self, pages: usize) -> usize {
        self.subset.count(pages)
    }

    /// Returns the verdict of every unmap of a referenced page; None if such a page is never
    /// unmapped, or if there is none.
    #[must_use]
    pub fn referenced(&self) -> Option<ExpectedVerdict> {
        match (self.memory, self.reference) {
            (_, Reference::None) | (Backing::Anon, Reference::IoUring) => None,
            (Backing::Lazyfree, _) => Some(ExpectedVerdict::Restored),
            (_, Reference::IoUring) => Some(ExpectedVerdict::FutilePinned),
            (_, Reference::Vmsplice) => Some(ExpectedVerdict::FutileReferenced),
        }
    }

    /// Returns the verdicts allowed for unmaps of pages without references. Each unmap ends in one
    /// of them.
    #[must_use]
    pub fn unreferenced(&self, swap: bool) -> &'static [ExpectedVerdict] {
        match self.memory {
            Backing::File | Backing::Lazyfree => &[ExpectedVerdict::Freed],
            // If the swap device finishes at once, the folio is freed in the same pass.
            Backing::Anon | Backing::Memfd if swap => {
                &[ExpectedVerdict::Freed, ExpectedVerdict::Writeback]
            }
            Backing::Memfd => &[ExpectedVerdict::Kept],
            Backing::Anon => &[],
        }
    }

    /// Returns what must be seen for this number of pages and rounds.
    #[must_use]
    pub fn expectations(&self, pages: usize, rounds: u32, swap: bool) -> Vec<Expectation> {
        let rounds = u64::from(rounds);
        let referenced = self.referenced_pages(pages) as u64;
        let others = pages as u64 - referenced;
        let mut all = Vec::new();
        let mut expect = |verdicts: &[ExpectedVerdict], folios: u64| {
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
        expect(self.referenced().as_slice(), referenced * rounds);
        expect(self.unreferenced(swap), others * rounds);
        all
    }

    /// Runs the scenario in the calling thread, which stays on one CPU meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::NotApplicable`] if the machine lacks something (swap for anonymous memory, io_uring,
    /// a disk file system); other errors if a system call fails unexpectedly.
    pub fn run(&self, options: &ScenarioOptions) -> Result<ScenarioRun> {
        check_range("the number of pages", options.pages as u64, 1 << 24)?;
        check_range("the number of rounds", u64::from(options.rounds), 1 << 20)?;
        let swap_pages = free_swap_pages();
        // Twice as much as needed, so that swap can't run out midway and change the outcome.
        let swap = swap_pages >= 2 * options.pages as u64;
        if self.memory == Backing::Anon && !swap {
            return Err(Error::lacking(
                format!(
                    "only {swap_pages} pages of swap are free, and without swap reclaim leaves anonymous memory alone"
                ),
                "add swap (zram will do), or ask for fewer pages",
            ));
        }
        let (subscriber, no_subscriber) = match options.subscriber.then(KvmSubscriber::open) {
            None => (None, Some("not requested".to_owned())),
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
        Ok(ScenarioRun {
            truth,
            _references: references,
            _region: region,
            _subscriber: subscriber,
        })
    }

    /// Runs the rounds: touch, reclaim, inspect.
    fn rounds(&self, rounds: u32, region: &Region) -> Result<PageEvidence> {
        let table = PageTable::open()?;
        let mut chosen = vec![false; region.pages()];
        for page in self.subset.runs(region.pages()).into_iter().flatten() {
            chosen[page] = true;
        }
        let others = region.runs_outside(self.subset);
        let [mut referenced, mut unreferenced] = [Pages::default(); 2];
        let mut damaged_pages = 0;
        let before = SystemCounters::take();
        for round in 0..rounds {
            let stamp = (round % 250) as u8 + 1;
            region.touch(stamp);
            region.give_back()?;
            pageout(region)?;
            let [now_referenced, now_unreferenced] = table.inspect(region, |page| chosen[page])?;
            referenced += now_referenced;
            unreferenced += now_unreferenced;
            damaged_pages += region.read_back(&others, stamp);
            region.forget(&others)?;
        }
        Ok(PageEvidence {
            referenced,
            unreferenced,
            damaged_pages,
            change: SystemCounters::take().since(&before),
        })
    }

    /// Returns how many times `__remove_mapping` returns 0 for this memory. Only clean pages get
    /// that far.
    fn remove_mapping_failures(&self, expected: &[Expectation]) -> u64 {
        let futile = |expectation: &&Expectation| {
            expectation.verdicts == [ExpectedVerdict::FutileReferenced]
                && self.memory == Backing::File
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
        assert_eq!(expected[0].verdicts, [ExpectedVerdict::FutilePinned]);
        assert_eq!(
            expected[1].verdicts,
            [ExpectedVerdict::Freed, ExpectedVerdict::Writeback]
        );
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
        let options = ScenarioOptions {
            pages: 0,
            ..ScenarioOptions::default()
        };
        assert!(SCENARIOS[0].run(&options).is_err());
    }
}
