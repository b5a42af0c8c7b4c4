//! The runtime around a master's sessions: what `allexmaster::sessions` does with tasks, one step after
//! the other. The machine, its log's contents and the transfer of bytes are the real ones.

use std::io;

use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::framing::web_socket::SEED_BYTES;
use allexmaster_sessions::transfer::{
    SendState, Transfer, read_some, reconcile, send_state, write_some,
};
use allexmaster_sessions::{
    ChildWire, ConnectionName, Endpoint, Input, LanProtocol, Output, ReplayedEffects,
};
use allexmaster_state::{Connection, Identity, Incarnation, InstanceName, Reply, RequestId};
use serde_json::Value;

use crate::agenda::{Happening, Job};
use crate::crash::Point;
use crate::env::Env;
use crate::lan_manager::LanManager;
use crate::master::{Killed, Master, Step};
use crate::network::{End, LinkId, Network};
use crate::tools::TOOL_PID;

/// So often, in thousandths, the log begins anew with a snapshot after an input.
const ROTATE_PERMILLE: u64 = 10;
/// How many bytes a read gives at most: one now and then.
const READS: [usize; 8] = [1, 60, 200, 16_384, 16_384, 16_384, 16_384, 16_384];
/// How long the last bytes may take to leave when a connection is closed, in milliseconds.
const FINISH_TIMEOUT: u64 = 1_000;

impl Master {
    /// Takes up the connections of the engine before.
    pub(crate) fn start_sessions(
        &mut self,
        env: &mut Env,
        replayed: Option<ReplayedEffects>,
    ) -> Step {
        let is_restored = replayed.is_some();
        if self
            .keeper
            .as_ref()
            .is_some_and(|keeper| keeper.log.is_none())
        {
            self.begin_log(env)?;
        }
        if let Some(ReplayedEffects { ack, effects }) = replayed {
            self.enter(env, Input::Journaled { ack, effects })?;
            self.enter(env, Input::JournalOut { outage: None })?;
        }
        self.attach(env, is_restored)
    }

    fn attach(&mut self, env: &mut Env, is_restored: bool) -> Step {
        let Some(engine) = &self.engine else {
            return Ok(());
        };
        let known = engine.log.sessions().connections();
        let queries = engine.log.sessions().queries();
        let dialing = engine.log.sessions().dialing();
        let me = (self.id, engine.number);
        let names: Vec<ConnectionName> = known.iter().map(|(name, _)| name.clone()).collect();
        for (name, progress) in known {
            let Some(link) = self.socket(&name) else {
                let reason = CloseReason::ByUs;
                self.enter(env, Input::Ended { name, reason })?;
                continue;
            };
            let mut transfer = self.transfer(env, &name, link);
            match reconcile(&mut transfer, progress) {
                Ok(()) => self.serve(env, &name),
                Err(error) => self.end_connection(env, &name, Err(error))?,
            }
        }
        if !is_restored {
            // The first engine was lost before its log was there: who was accepted by then is cut off.
            env.tools.master_ends(self.id);
        }
        let others = self.keeper.iter().flat_map(|keeper| keeper.sockets.keys());
        let others: Vec<ConnectionName> = others
            .filter(|name| !names.contains(name))
            .cloned()
            .collect();
        for name in others {
            if is_restored && name.0.starts_with("listen.") {
                env.soon_in_engine(3, me, Job::TakeIn(name));
            } else if !is_restored || !name.0.starts_with("child.") {
                self.forget(env, &name);
            }
        }
        for (request, _) in queries {
            env.soon_in_engine(5, me, Job::Answer(request));
        }
        if dialing.is_some() {
            self.begin_to_dial(env);
        }
        self.emit(env);
        self.obey(env)
    }

    /// Hands an input in: logged first, then taken.
    pub(crate) fn enter(&mut self, env: &mut Env, input: Input) -> Step {
        let name = name_of(&input);
        self.passes(env, Point::Unlogged, name)?;
        let Some(engine) = &mut self.engine else {
            return Err(Killed);
        };
        match engine.log.commit(env.now, input) {
            Ok(outputs) => engine.outputs.extend(outputs),
            Err(error) => env.demand(false, || format!("an input cannot be logged: {error}")),
        }
        self.passes(env, Point::Logged, name)?;
        self.obey(env)
    }

    /// Does what the sessions want.
    pub(crate) fn obey(&mut self, env: &mut Env) -> Step {
        while let Some(engine) = &mut self.engine
            && let Some(output) = engine.outputs.pop_front()
        {
            let me = (self.id, engine.number);
            match output {
                Output::Write(name) | Output::Finish(name) => {
                    env.soon_in_engine(2, me, Job::Pump(name));
                }
                Output::Cut(name) => self.forget(env, &name),
                Output::Emit => self.emit(env),
                Output::Query(request, _) => env.soon_in_engine(5, me, Job::Answer(request)),
                Output::Dial => self.begin_to_dial(env),
                Output::Carry(..)
                | Output::StopDialing
                | Output::Introduced(..)
                | Output::ChildGone(..)
                | Output::LogEvent(_)
                | Output::Warn(_) => {}
            }
        }
        if env.chance.permille(ROTATE_PERMILLE) {
            self.begin_log(env)?;
        }
        Ok(())
    }

    /// The log begins anew.
    fn begin_log(&mut self, env: &mut Env) -> Step {
        self.passes(env, Point::Unlogged, "snapshot")?;
        let (Some(engine), Some(keeper)) = (&mut self.engine, &mut self.keeper) else {
            return Err(Killed);
        };
        match engine.log.renew().and_then(|()| engine.log.file()) {
            Ok(file) => keeper.log = Some(file),
            Err(error) => env.demand(false, || format!("no snapshot of the sessions: {error}")),
        }
        self.passes(env, Point::Logged, "snapshot")
    }

    /// The sessions' events go into the inbox, in order.
    fn emit(&mut self, env: &mut Env) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        while let Some((number, event)) = engine.log.sessions().unacked(engine.emitted) {
            engine.inbox.push_back(event);
            engine.emitted = number;
        }
        if !engine.inbox.is_empty() {
            env.soon_in_engine(3, (self.id, engine.number), Job::Turn);
        }
    }

    /// The time of the sessions has come.
    pub(crate) fn sessions_timeout(&mut self, env: &mut Env) -> Step {
        self.enter(env, Input::Timeout)
    }

    fn begin_to_dial(&mut self, env: &mut Env) {
        if let Some(engine) = &self.engine
            && let Some(dialing) = engine.log.sessions().dialing()
        {
            let job = Job::Dial(dialing.connection);
            env.soon_in_engine(300, (self.id, engine.number), job);
        }
    }

    /// A dial is through, or failed.
    pub(crate) fn dial(
        &mut self,
        env: &mut Env,
        lan_manager: &mut LanManager,
        connection: Connection,
    ) -> Step {
        let dialing = self
            .engine
            .as_ref()
            .map(|engine| engine.log.sessions().dialing());
        if dialing.flatten().map(|dialing| dialing.connection) != Some(connection) {
            return Ok(());
        }
        let is_cut = env.now < env.network.cut_until(self.id);
        let accepted = if is_cut {
            None
        } else {
            lan_manager.accept(env, self.id)
        };
        let Some(link) = accepted else {
            let reason = "the LanManager cannot be reached".to_owned();
            return self.enter(env, Input::DialFailed { connection, reason });
        };
        let name = ConnectionName(format!("lan.{connection}"));
        let mut seed = [0; SEED_BYTES];
        seed.fill_with(|| u8::try_from(env.chance.below(256)).unwrap_or(0));
        let endpoint = Endpoint {
            protocol: LanProtocol::Ws,
            host: "127.0.0.1".to_owned(),
            port: 23_552,
        };
        let dialed = Input::Dialed {
            name: name.clone(),
            connection,
            endpoint,
            seed,
        };
        self.open_connection(env, &name, link, dialed)
    }

    /// A local peer that the keeper has accepted is taken in.
    pub(crate) fn take_in(&mut self, env: &mut Env, name: ConnectionName) -> Step {
        let is_known = |engine: &crate::master::Engine| engine.pumped.contains(&name);
        let Some(link) = self.socket(&name) else {
            return Ok(());
        };
        if self.engine.as_ref().is_none_or(is_known) {
            return Ok(());
        }
        let accepted = Input::Accepted {
            name: name.clone(),
            socket: 0,
            process: Some(TOOL_PID),
            user: Some(0),
            user_name: None,
        };
        self.open_connection(env, &name, link, accepted)
    }

    /// A child can be spoken to.
    pub(crate) fn open_channel(
        &mut self,
        env: &mut Env,
        incarnation: Incarnation,
        instance: InstanceName,
        identity: Identity,
    ) -> Step {
        let name = channel_name(incarnation);
        let is_known = |engine: &crate::master::Engine| engine.pumped.contains(&name);
        let Some(link) = self.socket(&name) else {
            return Ok(());
        };
        if self.engine.as_ref().is_none_or(is_known) {
            return Ok(());
        }
        let opened = Input::ChannelOpened {
            name: name.clone(),
            incarnation,
            instance,
            identity,
            wire: ChildWire::Inherited,
        };
        self.open_connection(env, &name, link, opened)
    }

    /// A question about the state is answered.
    pub(crate) fn answer(&mut self, env: &mut Env, request: RequestId) -> Step {
        let reply = Reply::Done(Value::Null);
        self.enter(env, Input::Answered { request, reply })
    }

    fn open_connection(
        &mut self,
        env: &mut Env,
        name: &ConnectionName,
        link: LinkId,
        opened: Input,
    ) -> Step {
        if let Some(keeper) = &mut self.keeper {
            keeper.sockets.insert(name.clone(), link);
        }
        self.enter(env, opened)?;
        self.serve(env, name);
        Ok(())
    }

    fn serve(&mut self, env: &mut Env, name: &ConnectionName) {
        if let Some(engine) = &mut self.engine {
            engine.pumped.insert(name.clone());
            env.soon_in_engine(3, (self.id, engine.number), Job::Pump(name.clone()));
        }
    }

    /// Moves the bytes of a connection.
    pub(crate) fn pump(&mut self, env: &mut Env, name: &ConnectionName) -> Step {
        let Some(engine) = self
            .engine
            .as_ref()
            .filter(|engine| engine.pumped.contains(name))
        else {
            return Ok(());
        };
        let me = (self.id, engine.number);
        let may_read = engine.log.sessions().may_read(name);
        let Some(link) = self.socket(name) else {
            return Ok(());
        };
        let mut transfer = self.transfer(env, name, link);
        let sending = match send_state(&mut transfer) {
            Ok(SendState::Finished) => {
                return self.end_connection(env, name, Ok(CloseReason::ByUs));
            }
            Ok(SendState::Pending) => write_some(&mut transfer),
            Ok(SendState::Idle) => Ok(()),
            Err(error) => Err(error),
        };
        let is_finishing = transfer.is_finishing();
        match sending {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                env.soon_in_engine(10, me, Job::Pump(name.clone()));
            }
            Err(error) => return self.end_connection(env, name, Err(error)),
            Ok(()) if is_finishing => return self.end_connection(env, name, Ok(CloseReason::ByUs)),
            Ok(()) => {}
        }
        if is_finishing {
            let engine = self.engine.as_mut();
            if engine.is_some_and(|engine| engine.expiring.insert(name.clone())) {
                let job = Job::Expire(name.clone());
                let (master, engine) = me;
                let expire = Happening::Engine {
                    master,
                    engine,
                    job,
                };
                env.after(FINISH_TIMEOUT, expire);
            }
            return Ok(());
        }
        if !may_read {
            env.soon_in_engine(10, me, Job::Pump(name.clone()));
            return Ok(());
        }
        let mut transfer = self.transfer(env, name, link);
        match read_some(&mut transfer) {
            Ok(0) => self.end_connection(env, name, Ok(CloseReason::ByPeer)),
            Ok(_) => {
                env.soon_in_engine(2, me, Job::Pump(name.clone()));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => self.end_connection(env, name, Err(error)),
        }
    }

    /// A connection that is to end has had its time.
    pub(crate) fn expire(&mut self, env: &mut Env, name: &ConnectionName) -> Step {
        if self.socket(name).is_none() {
            return Ok(());
        }
        self.end_connection(env, name, Ok(CloseReason::ByUs))
    }

    /// A connection ends; or the engine does, in the middle of it.
    fn end_connection(
        &mut self,
        env: &mut Env,
        name: &ConnectionName,
        how: io::Result<CloseReason>,
    ) -> Step {
        if self.loss.is_some() || env.broken.is_some() {
            return Err(Killed);
        }
        let reason = how.unwrap_or_else(|error| CloseReason::from_io(&error));
        self.forget(env, name);
        let name = name.clone();
        self.enter(env, Input::Ended { name, reason })
    }

    /// A socket is closed, and the keeper gives it up.
    pub(crate) fn forget(&mut self, env: &mut Env, name: &ConnectionName) {
        if let Some(engine) = &mut self.engine {
            engine.pumped.remove(name);
        }
        let keeper = self.keeper.as_mut();
        if let Some(link) = keeper.and_then(|keeper| keeper.sockets.remove(name)) {
            env.close(link, End::Master);
        }
        if let Some(engine) = self.engine.as_ref().filter(|engine| engine.is_ending)
            && engine.pumped.is_empty()
        {
            env.soon_in_engine(5, (self.id, engine.number), Job::End);
        }
    }

    /// Something has come for a connection.
    pub(crate) fn has_arrived(&self, env: &mut Env, link: LinkId) {
        let (Some(engine), Some(keeper)) = (&self.engine, &self.keeper) else {
            return;
        };
        let name = keeper.sockets.iter().find(|(_, socket)| **socket == link);
        if let Some((name, _)) = name.filter(|(name, _)| engine.pumped.contains(*name)) {
            let job = Job::Pump(name.clone());
            env.soon_in_engine(3, (self.id, engine.number), job);
        }
    }

    fn socket(&self, name: &ConnectionName) -> Option<LinkId> {
        self.keeper.as_ref()?.sockets.get(name).copied()
    }

    fn transfer<'step>(
        &'step mut self,
        env: &'step mut Env,
        name: &'step ConnectionName,
        link: LinkId,
    ) -> SimulatedTransfer<'step> {
        SimulatedTransfer {
            master: self,
            env,
            name,
            link,
        }
    }
}

/// The name of a child's connection.
pub(crate) fn channel_name(incarnation: Incarnation) -> ConnectionName {
    ConnectionName(format!("child.{incarnation}"))
}

/// A connection, for the real steps of the transfer; the engine can end before and after each.
struct SimulatedTransfer<'step> {
    master: &'step mut Master,
    env: &'step mut Env,
    name: &'step ConnectionName,
    link: LinkId,
}

impl SimulatedTransfer<'_> {
    fn passes(&mut self, name: &'static str) -> io::Result<()> {
        let passed = self.master.passes(self.env, Point::Transfer, name);
        passed.map_err(|Killed| io::Error::other("killed"))
    }
}

impl Transfer for SimulatedTransfer<'_> {
    fn name(&self) -> &ConnectionName {
        self.name
    }

    fn enter(&mut self, input: Input) -> io::Result<()> {
        let entered = self.master.enter(self.env, input);
        entered.map_err(|Killed| io::Error::other("killed"))
    }

    fn chunk(&self, most: usize) -> Option<(Vec<u8>, u64)> {
        self.master
            .engine
            .as_ref()?
            .log
            .sessions()
            .chunk(self.name, most)
    }

    fn is_finishing(&self) -> bool {
        let engine = self.master.engine.as_ref();
        engine.is_some_and(|engine| engine.log.sessions().is_finishing(self.name))
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.env.chance.pick(&READS, 1));
        let buffer = buffer.get_mut(..most).unwrap_or_default();
        let count = self.env.network.peek(self.link, buffer)?;
        self.passes("peek")?;
        Ok(count)
    }

    fn consume(&mut self, count: usize) -> io::Result<()> {
        // It may take several calls, and the engine may end between them.
        let first = self.env.chance.below(count + 1);
        for part in [first, count - first] {
            if part > 0 {
                self.passes("consume")?;
                self.env.network.consume(self.link, part)?;
            }
        }
        Ok(())
    }

    fn peek_offset(&mut self) -> io::Result<usize> {
        Ok(self.env.network.peeked(self.link))
    }

    fn reset_peek_offset(&mut self) -> io::Result<()> {
        self.passes("reset-peek")?;
        self.env.network.reset_peeked(self.link);
        Ok(())
    }

    fn room(&mut self) -> io::Result<usize> {
        Ok(Network::room())
    }

    fn pipe_len(&mut self) -> io::Result<usize> {
        Ok(self.env.network.pipe_len(self.link))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.passes("put")?;
        self.env.network.put(self.link, bytes)?;
        self.passes("put")
    }

    fn flush_pipe(&mut self) -> io::Result<()> {
        self.passes("splice")?;
        let most = self.env.chance.pick(&[0, 30, 512, 512, 512], 512);
        if most == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = self.env.network.splice(self.link, most)?;
        self.env.send(self.link, End::Peer, &bytes);
        self.passes("splice")
    }

    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The name of an input, as a crash point.
const fn name_of(input: &Input) -> &'static str {
    match input {
        Input::Accepted { .. } => "accepted",
        Input::ChannelOpened { .. } => "channel-opened",
        Input::Dialed { .. } => "dialed",
        Input::DialFailed { .. } => "dial-failed",
        Input::Received { .. } => "received",
        Input::Marked { .. } => "marked",
        Input::Carried { .. } => "carried",
        Input::Ended { .. } => "ended",
        Input::Journaled { .. } => "journaled",
        Input::Answered { .. } => "answered",
        Input::ChildFailed { .. } => "child-failed",
        Input::Upgrading { .. } => "upgrading",
        Input::JournalOut { .. } => "journal-out",
        Input::Timeout => "timeout",
        Input::Stopping => "stopping",
    }
}
