//! The table of open connections: which may be opened, and which give way.
//!
//! Only a request takes the server's time. A connection that waits for a request, sends a head byte
//! by byte, or does not read its response costs a descriptor, and gives way to a new connection.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv6Addr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// The maximum number of open connections.
const ALL: usize = 256;
/// The maximum number of connections of one peer.
const OF_PEER: usize = 64;
/// The same for this host itself, where agents, sidecars and tunnels connect from.
const OF_LOOPBACK: usize = 128;
/// The time from the start of a connection, or from the first byte of a later request, to the end
/// of the request's head. It includes the TLS handshake.
const HEAD: Duration = Duration::from_secs(10);
/// The time to make a response.
const WORK: Duration = Duration::from_secs(60);
/// The time without progress in sending a response, and the time for all of it.
const STALLED: Duration = Duration::from_secs(10);
const RESPONSE: Duration = Duration::from_secs(60);
/// The time between two requests. Prometheus keeps an idle connection for 5 minutes: the side that
/// sends requests should be the one that closes, or a request may meet a closed connection.
const IDLE: Duration = Duration::from_secs(6 * 60);

/// What counts as one peer: an IPv4 address, or an IPv6 network of 64 bits, within which anybody
/// has as many addresses as they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Peer(IpAddr);

impl Peer {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) if !v6.is_loopback() => {
                let network = v6.to_bits() & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            other => other,
        })
    }

    fn limit(self) -> usize {
        if self.0.is_loopback() {
            OF_LOOPBACK
        } else {
            OF_PEER
        }
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its first bytes, or those of a request's head, are awaited.
    Head,
    /// The response is being made.
    Working,
    /// The response is being sent.
    Responding,
    /// It waits for the next request.
    Idle,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// When bytes of the response were last taken.
    progress: Instant,
}

impl State {
    fn enter(&mut self, phase: Phase) {
        let now = Instant::now();
        *self = Self {
            phase,
            since: now,
            progress: now,
        };
    }

    fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Head => self.since + HEAD,
            Phase::Working => self.since + WORK,
            Phase::Responding => (self.progress + STALLED).min(self.since + RESPONSE),
            Phase::Idle => self.since + IDLE,
        }
    }
}

/// The address that a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client(pub(super) IpAddr);

/// One open connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    peer: Peer,
    state: Mutex<State>,
    closed: Notify,
}

impl Connection {
    fn new(address: IpAddr) -> Self {
        let now = Instant::now();
        let state = State {
            phase: Phase::Head,
            since: now,
            progress: now,
        };
        Self {
            client: Client(address),
            peer: Peer::of(address),
            state: Mutex::new(state),
            closed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.state().enter(phase);
    }

    /// Waits until the connection is to be closed.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }

    fn heard(&self) {
        let mut state = self.state();
        if state.phase == Phase::Idle {
            state.enter(Phase::Head);
        }
    }

    fn wrote(&self) {
        let mut state = self.state();
        match state.phase {
            Phase::Responding => state.progress = Instant::now(),
            // A response in several parts, of which the last is not sent yet.
            Phase::Idle => state.enter(Phase::Responding),
            Phase::Head | Phase::Working => {}
        }
    }

    fn flushed(&self) {
        let mut state = self.state();
        if state.phase == Phase::Responding {
            state.enter(Phase::Idle);
        }
    }
}

/// All open connections, by the order in which they were opened.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    open: BTreeMap<u64, Arc<Connection>>,
    next: u64,
}

/// A connection's place in the table, which it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    table: Arc<Connections>,
    number: u64,
    pub(super) connection: Arc<Connection>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.table().open.remove(&self.number);
    }
}

impl Connections {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a new connection a place, for which another may have to give way: one of the same peer
    /// if that has as many as it may, otherwise one of the peer that has most. A peer whose connections
    /// are all at work may have more while there is room. `None`: all connections are at work.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let peer = Peer::of(address);
        let mut table = self.table();
        let gave_way = table.held(peer) >= peer.limit() && table.give_way(Some(peer));
        if !gave_way && table.open.len() >= ALL && !table.give_way(None) {
            return None;
        }
        let number = table.next;
        table.next += 1;
        let connection = Arc::new(Connection::new(address));
        table.open.insert(number, Arc::clone(&connection));
        Some(Place {
            table: Arc::clone(self),
            number,
            connection,
        })
    }

    /// Closes the connection that has waited longest, to free its descriptor.
    pub(super) fn give_way(&self) -> bool {
        self.table().give_way(None)
    }

    /// Closes connections whose time is up, and those that a peer has too many, and returns their
    /// number.
    pub(super) fn sweep(&self) -> usize {
        let now = Instant::now();
        let mut table = self.table();
        let late = table.close(|state| state.deadline() <= now);
        let peers: BTreeSet<Peer> = table.open.values().map(|c| c.peer).collect();
        let before = table.open.len();
        for peer in peers {
            while table.held(peer) > peer.limit() && table.give_way(Some(peer)) {}
        }
        late + before - table.open.len()
    }

    /// Closes connections that wait for a request: what they were opened with has changed.
    pub(super) fn close_idle(&self) {
        self.table().close(|state| state.phase == Phase::Idle);
    }

    /// Returns whether a response is being made or sent.
    pub(super) fn busy(&self) -> bool {
        let table = self.table();
        let mut phases = table.open.values().map(|c| c.state().phase);
        phases.any(|phase| matches!(phase, Phase::Working | Phase::Responding))
    }
}

impl Table {
    fn held(&self, peer: Peer) -> usize {
        self.open.values().filter(|c| c.peer == peer).count()
    }

    fn give_way(&mut self, of: Option<Peer>) -> bool {
        let mut held: BTreeMap<Peer, usize> = BTreeMap::new();
        for connection in self.open.values() {
            *held.entry(connection.peer).or_default() += 1;
        }
        let longest = self
            .open
            .iter()
            .filter(|(_, c)| of.is_none_or(|peer| c.peer == peer))
            .filter_map(|(number, c)| {
                let state = c.state();
                let waits = state.phase != Phase::Working;
                waits.then(|| (held[&c.peer], std::cmp::Reverse(state.since), *number))
            })
            .max_by_key(|(held, since, number)| (*held, *since, std::cmp::Reverse(*number)));
        let Some((_, _, number)) = longest else {
            return false;
        };
        if let Some(connection) = self.open.remove(&number) {
            connection.closed.notify_one();
        }
        true
    }

    fn close(&mut self, which: impl Fn(&State) -> bool) -> usize {
        let before = self.open.len();
        self.open.retain(|_, connection| {
            let close = which(&connection.state());
            if close {
                connection.closed.notify_one();
            }
            !close
        });
        before - self.open.len()
    }
}

/// A stream that notes what its connection is doing.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    connection: Arc<Connection>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>) -> Self {
        Self { stream, connection }
    }

    fn written(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = poll {
            self.connection.wrote();
        }
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.connection.heard();
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = poll {
            self.connection.flushed();
        }
        poll
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn peer(text: &str) -> Peer {
        Peer::of(address(text))
    }

    #[test]
    fn a_peer_is_an_address_or_a_network() {
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.2"), peer("192.0.2.1"));
        assert_eq!(peer("::1").limit(), OF_LOOPBACK);
        assert_eq!(peer("127.0.0.2").limit(), OF_LOOPBACK);
        assert_eq!(peer("192.0.2.1").limit(), OF_PEER);
    }

    #[test]
    fn one_peer_cannot_close_the_connections_of_others() {
        let table = Arc::new(Connections::default());
        let scraper = table.admit(address("192.0.2.1")).unwrap();
        let flood: Vec<_> = (0..1000)
            .filter_map(|_| table.admit(address("192.0.2.2")))
            .collect();
        assert_eq!(table.table().held(peer("192.0.2.2")), OF_PEER);
        // Flooding from several addresses closes the flood's own connections.
        let wide: Vec<_> = (0..1000)
            .filter_map(|n| table.admit(address(&format!("192.0.2.{}", 3 + n % 7))))
            .collect();
        let held = table.table();
        assert_eq!(held.open.len(), ALL);
        assert!(held.open.contains_key(&scraper.number));
        drop(held);
        drop((flood, wide));
        assert_eq!(table.table().open.len(), 1);
    }

    #[test]
    fn the_longest_idle_gives_way_and_work_does_not() {
        let table = Arc::new(Connections::default());
        let mut places: Vec<_> = (0..OF_PEER)
            .filter_map(|_| table.admit(address("192.0.2.1")))
            .collect();
        places[0].connection.enter(Phase::Working);
        // The next has just sent a request, so that the one after it is idle for longest.
        places[1].connection.enter(Phase::Idle);
        let place = table.admit(address("192.0.2.1")).unwrap();
        let open = |place: &Place| table.table().open.contains_key(&place.number);
        assert!(open(&places[0]) && open(&places[1]) && !open(&places[2]));
        places.push(place);
        for place in &places {
            place.connection.enter(Phase::Working);
        }
        assert!(table.busy());
        // All are at work: there is room for more, and then there is not.
        while let Some(place) = table.admit(address("192.0.2.1")) {
            place.connection.enter(Phase::Working);
            places.push(place);
        }
        assert_eq!(table.table().open.len(), ALL);
        // The first to finish gives way to another peer.
        places[7].connection.enter(Phase::Idle);
        assert!(table.admit(address("192.0.2.2")).is_some());
        assert!(!table.table().open.contains_key(&places[7].number));
        // When the work is done, the peer has too many.
        for place in &places {
            place.connection.enter(Phase::Idle);
        }
        assert_eq!(table.sweep(), ALL - 1 - OF_PEER);
    }

    #[test]
    fn time_is_limited_in_every_phase() {
        let table = Arc::new(Connections::default());
        let place = table.admit(address("192.0.2.1")).unwrap();
        let connection = &place.connection;
        let phase = || connection.state().phase;
        // A request and its response, twice.
        for _ in 0..2 {
            connection.heard();
            assert_eq!(phase(), Phase::Head);
            connection.enter(Phase::Working);
            connection.flushed();
            assert_eq!(phase(), Phase::Working);
            connection.enter(Phase::Responding);
            connection.wrote();
            assert_eq!(phase(), Phase::Responding);
            connection.flushed();
            assert_eq!(phase(), Phase::Idle);
        }
        assert_eq!(table.sweep(), 0);
        let Some(past) = Instant::now().checked_sub(STALLED) else {
            return;
        };
        // Idle for as long as no response may stall.
        connection.state().since = past;
        assert_eq!(table.sweep(), 0);
        connection.enter(Phase::Responding);
        connection.state().progress = past;
        assert_eq!(table.sweep(), 1);
    }
}
