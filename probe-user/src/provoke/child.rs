//! A child process that holds memory and takes orders on its standard input.
//!
//! The parent starts its own program again with a hidden subcommand that calls [`serve`], moves
//! the child into a cgroup, and sends it orders: each is one line, and so is its answer.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::comm::{own_comm, set_comm};
use super::counters::SystemCounters;
use super::error::{Error, Result};
use super::page_table::{PageTable, Pages};
use super::reference::{Reference, References};
use super::region::{Backing, Region};
use super::subscriber::KvmSubscriber;
use super::subset::Subset;

/// What a child has to hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Role {
    /// The name of the process, at most 15 bytes: what the kernel calls comm.
    pub comm: String,
    /// Whether the child makes a KVM virtual machine where it can.
    pub subscriber: bool,
    /// The directory in which files are made.
    pub directory: PathBuf,
    /// The memory to hold.
    pub holdings: Vec<Holding>,
}

/// One kind of memory to hold.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// What backs it.
    pub memory: Backing,
    /// The number of pages.
    pub pages: usize,
    /// How every page is referenced.
    pub reference: Reference,
}

/// An order to a child.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Make the memory and take the references.
    Start,
    /// Count the pages that lost their mapping, then touch all.
    Round,
    /// Do rounds for `millis` milliseconds, with a pause after each.
    Loop {
        /// The duration in milliseconds.
        millis: u64,
        /// The pause in milliseconds.
        pause: u64,
    },
}

/// What a child knows for certain about one of its holdings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldingReport {
    /// What backs it.
    pub memory: Backing,
    /// How it is referenced.
    pub reference: Reference,
    /// The number of pages.
    pub pages: u64,
    /// Pages found without a mapping, summed over the rounds. Each was unmapped at least once
    /// since the previous round, so this is a lower bound of the unmaps.
    pub found: Pages,
}

/// What a child knows for certain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChildReport {
    /// The process id.
    pub pid: u32,
    /// The name of the process.
    pub comm: String,
    /// Whether KVM subscribes to its MMU notifiers.
    pub subscriber: bool,
    /// How many times its pages were counted and touched.
    pub rounds: u64,
    /// Minor faults since the memory was made.
    pub minor_faults: u64,
    /// Major faults since the memory was made.
    pub major_faults: u64,
    /// Its memory, in the order of the role's holdings.
    pub holdings: Vec<HoldingReport>,
}

/// Runs the child's side: obeys until standard input ends, then gives everything back.
///
/// `role` is the JSON that [`Worker::start`] put on the command line.
pub fn serve(role: &str) -> Result<()> {
    let role: Role = serde_json::from_str(role).map_err(|error| {
        Error::lacking(
            format!("the role cannot be parsed ({error})"),
            "do not run this subcommand by hand: it is for children of this program",
        )
    })?;
    set_comm(&role.comm);
    let mut state = None;
    for line in std::io::stdin().lock().lines() {
        let Ok(order) = line
            .map_err(|_| ())
            .and_then(|line| serde_json::from_str::<Order>(&line).map_err(|_| ()))
        else {
            break;
        };
        let state = match &mut state {
            Some(state) => state,
            None => state.insert(State::new(&role)?),
        };
        match order {
            Order::Start => {}
            Order::Round => state.round()?,
            Order::Loop { millis, pause } => {
                let end = Instant::now() + Duration::from_millis(millis);
                while Instant::now() < end {
                    state.round()?;
                    std::thread::sleep(Duration::from_millis(pause));
                }
            }
        }
        let answer = serde_json::to_string(&state.report()).unwrap_or_default();
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{answer}")
            .and_then(|()| out.flush())
            .is_err()
        {
            break;
        }
    }
    Ok(())
}

struct Held {
    region: Region,
    _references: References,
    report: HoldingReport,
}

struct State {
    held: Vec<Held>,
    subscriber: Option<KvmSubscriber>,
    table: PageTable,
    rounds: u64,
    start: SystemCounters,
}

impl State {
    fn new(role: &Role) -> Result<Self> {
        let subscriber = role
            .subscriber
            .then(KvmSubscriber::open)
            .and_then(std::result::Result::ok);
        let held = role.holdings.iter().map(|holding| hold(holding, role));
        Ok(Self {
            held: held.collect::<Result<_>>()?,
            subscriber,
            table: PageTable::open()?,
            rounds: 0,
            start: SystemCounters::take(),
        })
    }

    fn round(&mut self) -> Result<()> {
        for held in &mut self.held {
            let [all, _] = self.table.inspect(&held.region, |_| true)?;
            held.report.found += all;
            held.region.touch((self.rounds % 250) as u8 + 1);
        }
        self.rounds += 1;
        Ok(())
    }

    fn report(&self) -> ChildReport {
        let change = SystemCounters::take().since(&self.start);
        ChildReport {
            pid: std::process::id(),
            comm: own_comm(),
            subscriber: self.subscriber.is_some(),
            rounds: self.rounds,
            minor_faults: change.minor_faults,
            major_faults: change.major_faults,
            holdings: self.held.iter().map(|held| held.report.clone()).collect(),
        }
    }
}

fn hold(holding: &Holding, role: &Role) -> Result<Held> {
    let region = Region::new(holding.memory, holding.pages, &role.directory)?;
    region.touch(1);
    let references = References::take(&region, holding.reference, Subset::All)?;
    let report = HoldingReport {
        memory: holding.memory,
        reference: holding.reference,
        pages: holding.pages as u64,
        found: Pages::default(),
    };
    Ok(Held {
        region,
        _references: references,
        report,
    })
}

/// The parent's side of a child. Dropping it ends the child.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// How to start a child: a program, and the arguments that precede the role's JSON.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// The arguments before the role.
    pub arguments: Vec<String>,
}

impl Launcher {
    /// Returns a launcher of this same program, with a subcommand that calls [`serve`] on its last
    /// argument.
    pub fn this_program(subcommand: &str) -> Result<Self> {
        let program = std::env::current_exe().map_err(super::error::at_file(
            "finding",
            "this program",
            "mount /proc",
        ))?;
        Ok(Self {
            program,
            arguments: vec![subcommand.to_owned()],
        })
    }
}

impl Worker {
    /// Starts a child. It holds nothing before its first order, so that it can be moved into a
    /// cgroup first, which is then charged for everything.
    pub fn start(launcher: &Launcher, role: &Role) -> Result<Self> {
        let json = serde_json::to_string(role).unwrap_or_default();
        let failed = super::error::at_file("starting", &launcher.program, "see the cause");
        let mut child = Command::new(&launcher.program)
            .args(&launcher.arguments)
            .arg(json)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let Some(answers) = answers else {
            let _ = child.kill();
            return Err(Error::Child {
                pid: child.id(),
                what: "it has no standard output".into(),
            });
        };
        Ok(Self {
            child,
            orders,
            answers: BufReader::new(answers),
        })
    }

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends an order without waiting for the answer.
    pub fn order(&mut self, order: Order) -> Result<()> {
        let line = serde_json::to_string(&order).unwrap_or_default();
        let sent = self
            .orders
            .as_mut()
            .is_some_and(|orders| writeln!(orders, "{line}").is_ok());
        if sent {
            Ok(())
        } else {
            Err(self.broken("it takes no orders"))
        }
    }

    /// Waits for the answer to the oldest unanswered order.
    pub fn answer(&mut self) -> Result<ChildReport> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(1..) => serde_json::from_str(&line).map_err(|_| {
                self.broken(&format!("its answer cannot be parsed: {:?}", line.trim()))
            }),
            _ => Err(self.broken("it ended before it answered")),
        }
    }

    /// Sends an order and waits for the answer.
    pub fn obey(&mut self, order: Order) -> Result<ChildReport> {
        self.order(order)?;
        self.answer()
    }

    fn broken(&self, what: &str) -> Error {
        Error::Child {
            pid: self.pid(),
            what: what.to_owned(),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.orders.take());
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_lines() {
        for order in [
            Order::Start,
            Order::Round,
            Order::Loop {
                millis: 5,
                pause: 1,
            },
        ] {
            let line = serde_json::to_string(&order).unwrap();
            assert!(!line.contains('\n'));
            assert!(serde_json::from_str::<Order>(&line).is_ok());
        }
    }

    #[test]
    fn a_state_counts_what_lost_its_mapping() {
        let role = Role {
            comm: "x".into(),
            subscriber: false,
            directory: super::super::default_directory(),
            holdings: vec![Holding {
                memory: Backing::Anon,
                pages: 8,
                reference: Reference::None,
            }],
        };
        let mut state = State::new(&role).unwrap();
        state.round().unwrap();
        state.held[0]
            .region
            .forget(std::slice::from_ref(&(0..3)))
            .unwrap();
        state.round().unwrap();
        let report = state.report();
        assert_eq!((report.rounds, report.holdings[0].found.unmapped), (2, 3));
    }
}
