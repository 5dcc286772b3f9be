//! A child process that holds memory, told what to do over its standard input.
//!
//! The parent starts its own program again with a hidden subcommand that calls [`serve`], puts
//! it into a cgroup, and then gives it orders: one line each, answered by one line.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::evidence::{PageTable, Pages, Snapshot};
use super::memory::{Memory, Region};
use super::reference::{Reference, References, Subset};
use super::scenario::own_comm;
use super::subscriber::Subscriber;

/// What a child is to hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Role {
    /// Its name, of 15 bytes at most: what the kernel calls comm.
    pub comm: String,
    /// Whether it makes a KVM virtual machine where it can.
    pub subscriber: bool,
    /// Where files are made.
    pub directory: PathBuf,
    /// Its memory.
    pub holdings: Vec<Holding>,
}

/// Memory to hold.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// What it is.
    pub memory: Memory,
    /// How many pages.
    pub pages: usize,
    /// How every page of it is referenced.
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
    /// As many rounds as fit into so many milliseconds, with a pause of so many in between.
    Loop {
        /// For how long.
        millis: u64,
        /// The pause.
        pause: u64,
    },
}

/// What a child knows for certain about one of its holdings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldingReport {
    /// What it is.
    pub memory: Memory,
    /// How it is referenced.
    pub reference: Reference,
    /// How many pages.
    pub pages: u64,
    /// Pages found without a mapping, summed over the rounds: each was unmapped at least once
    /// since the round before, so this is a lower bound of unmaps.
    pub found: Pages,
}

/// What a child knows for certain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChildReport {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Whether KVM listens to its MMU notifiers.
    pub subscriber: bool,
    /// How often its pages were counted and touched.
    pub rounds: u64,
    /// Minor faults since the memory was made.
    pub minor_faults: u64,
    /// Major faults since the memory was made.
    pub major_faults: u64,
    /// Its memory, in the order of the role.
    pub holdings: Vec<HoldingReport>,
}

/// The child's side: obeys until standard input ends, then gives everything back.
///
/// `role` is the JSON that [`Worker::start`] put on the command line.
pub fn serve(role: &str) -> Result<()> {
    let role: Role = serde_json::from_str(role).map_err(|error| {
        Error::lacking(
            format!("the role is not one ({error})"),
            "don't call this by hand",
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

/// Names the calling thread, cut to the 15 bytes the kernel keeps.
pub fn set_comm(comm: &str) {
    let short: Vec<u8> = comm.bytes().filter(|&byte| byte != 0).take(15).collect();
    if let Ok(name) = std::ffi::CString::new(short) {
        let _ = nix::sys::prctl::set_name(&name);
    }
}

struct Held {
    region: Region,
    _references: References,
    report: HoldingReport,
}

struct State {
    held: Vec<Held>,
    subscriber: Option<Subscriber>,
    table: PageTable,
    rounds: u64,
    start: Snapshot,
}

impl State {
    fn new(role: &Role) -> Result<Self> {
        let subscriber = role
            .subscriber
            .then(Subscriber::open)
            .and_then(std::result::Result::ok);
        let held = role.holdings.iter().map(|holding| hold(holding, role));
        Ok(Self {
            held: held.collect::<Result<_>>()?,
            subscriber,
            table: PageTable::open()?,
            rounds: 0,
            start: Snapshot::take(),
        })
    }

    fn round(&mut self) -> Result<()> {
        for held in &mut self.held {
            let [all, _] = self.table.look(&held.region, |_| true)?;
            held.report.found += all;
            held.region.touch((self.rounds % 250) as u8 + 1);
        }
        self.rounds += 1;
        Ok(())
    }

    fn report(&self) -> ChildReport {
        let change = Snapshot::take().since(&self.start);
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

/// The parent's side of a child. Ends with it when dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// How to start a child: a program, and the arguments after which the role's JSON goes.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// The arguments before the role.
    pub arguments: Vec<String>,
}

impl Launcher {
    /// This program again, with a subcommand that calls [`serve`] on its last argument.
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
    /// Starts a child. It holds nothing before its first order, so it can be moved into a
    /// cgroup and all it holds is charged there.
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
                what: "has no standard output".into(),
            });
        };
        Ok(Self {
            child,
            orders,
            answers: BufReader::new(answers),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order without waiting for the answer.
    pub fn order(&mut self, order: Order) -> Result<()> {
        let line = serde_json::to_string(&order).unwrap_or_default();
        let sent = self
            .orders
            .as_mut()
            .is_some_and(|orders| writeln!(orders, "{line}").is_ok());
        if sent {
            Ok(())
        } else {
            Err(self.broken("takes no orders"))
        }
    }

    /// Waits for the answer to the oldest order that wasn't answered yet.
    pub fn answer(&mut self) -> Result<ChildReport> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(1..) => serde_json::from_str(&line)
                .map_err(|_| self.broken(&format!("answered {:?}", line.trim()))),
            _ => Err(self.broken("ended before it answered")),
        }
    }

    /// Gives an order and waits for the answer.
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
        let patience = Instant::now() + Duration::from_secs(5);
        while Instant::now() < patience {
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
                memory: Memory::Anon,
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
