//! The client end.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each kind of input is taken in one of two places"
)]

use allexmaster_protocol::client::{Client, ClientEvent, Timeout};
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::frame::{CallId, SessionId, Target};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::copies;
use crate::decoders::{cases, values};
use crate::pair::client;

/// What happens to a client. Sessions are `s0` to `s3`, calls any that were made.
#[derive(Clone, Debug)]
enum Input {
    Introduce,
    Claim(u8),
    Call(u8, &'static str, Value, Timeout),
    Query(u8, Value),
    Answer(Index, Value),
    Introduced(Index, u8),
    Fail(Index, Value),
    Progress(Index, Value),
    OutOfBand(u8, &'static str, Value),
    Text(Value),
    Traffic,
    Wait(u64),
    Closed,
    Drain,
}

fn inputs() -> impl Strategy<Value = Input> {
    let session = || 0_u8..4;
    let call = any::<Index>;
    let method = prop::sample::select(vec!["die", "bid", "query"]);
    let timeout = prop_oneof![
        (1_u64..30_000).prop_map(Timeout::Answer),
        (1_u64..30_000).prop_map(Timeout::FirstSign),
        Just(Timeout::Unlimited),
    ];
    let channel = prop::sample::select(vec!["s", "s", "x", "-", "other"]);
    prop_oneof![
        4 => Just(Input::Introduce),
        3 => session().prop_map(Input::Claim),
        6 => (session(), method, values(), timeout)
            .prop_map(|(session, method, value, timeout)| Input::Call(session, method, value, timeout)),
        2 => (session(), values()).prop_map(|(session, value)| Input::Query(session, value)),
        3 => (call(), values()).prop_map(|(call, value)| Input::Answer(call, value)),
        5 => (call(), session()).prop_map(|(call, session)| Input::Introduced(call, session)),
        2 => (call(), values()).prop_map(|(call, value)| Input::Fail(call, value)),
        3 => (call(), values()).prop_map(|(call, value)| Input::Progress(call, value)),
        6 => (session(), channel, values())
            .prop_map(|(session, channel, value)| Input::OutOfBand(session, channel, value)),
        1 => values().prop_map(Input::Text),
        1 => Just(Input::Traffic),
        4 => (0_u64..6_000).prop_map(Input::Wait),
        20 => Just(Input::Drain),
    ]
}

struct World {
    client: Client,
    now: u64,
    calls: Vec<CallId>,
}

impl World {
    fn new(carrier: CarrierKind) -> Self {
        Self {
            client: client(carrier),
            now: 0,
            calls: vec![CallId::from("unknown")],
        }
    }

    fn hear(&mut self, frame: &Value) {
        self.client.receive(self.now, &frame.to_string());
    }

    /// The texts and events that come out, and when to come back.
    fn take(&mut self, input: &Input) -> (Vec<String>, Vec<ClientEvent>, Option<u64>) {
        self.make_calls(input);
        self.take_news(input);
        let mut out = (vec![], vec![], self.client.poll_timeout());
        if let Input::Drain = input {
            out.0
                .extend(std::iter::from_fn(|| self.client.poll_transmit()));
            out.1
                .extend(std::iter::from_fn(|| self.client.poll_event()));
        }
        out
    }

    fn make_calls(&mut self, input: &Input) {
        let now = self.now;
        let named = |session: u8| SessionId::from(format!("s{session}"));
        let call = match input.clone() {
            Input::Introduce => self.client.introduce(now, json!({"ip": {"role": "user"}})),
            Input::Claim(session) => self.client.claim(now, &named(session)),
            Input::Call(session, method, value, timeout) => {
                let arguments = vec![value];
                let session = named(session);
                self.client
                    .call(now, &session, Target::Session, method, arguments, timeout)
            }
            Input::Query(session, value) => self.client.query(now, &named(session), value),
            _ => return,
        };
        self.calls.push(call);
    }

    fn take_news(&mut self, input: &Input) {
        let calls = self.calls.clone();
        let named = |call: Index| call.get(&calls).as_str();
        match input.clone() {
            Input::Answer(call, value) => self.hear(&json!(["r", named(call), value])),
            Input::Introduced(call, session) => {
                let answer =
                    json!({"session": format!("s{session}"), "role": "user", "modulename": "x"});
                self.hear(&json!(["r", named(call), answer]));
            }
            Input::Fail(call, value) => self.hear(&json!(["e", named(call), value])),
            Input::Progress(call, value) => self.hear(&json!(["n", named(call), value])),
            Input::OutOfBand(session, channel, value) => {
                let item = match channel {
                    "s" => json!({"p": ["a"], "o": "s", "d": value}),
                    _ => value,
                };
                self.hear(&json!(["oob", [format!("s{session}"), channel, item]]));
            }
            Input::Text(value) => self.hear(&value),
            Input::Traffic => self.client.traffic(self.now),
            Input::Wait(milliseconds) => {
                self.now += milliseconds;
                self.client.handle_timeout(self.now);
            }
            Input::Closed => self.client.closed(CloseReason::ByPeer),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_client_goes_on_from_its_image_as_if_nothing_had_happened(
        ipc in any::<bool>(),
        before in prop::collection::vec(inputs(), 0..80),
        after in prop::collection::vec(inputs(), 1..40),
    ) {
        // A text that is no frame ends a client, but not that of a child.
        let carrier = if ipc { CarrierKind::Ipc } else { CarrierKind::WebSocket };
        let mut world = World::new(carrier);
        for input in &before {
            world.take(input);
        }
        let mut twins = copies(&world.client)
            .map(|client| World { client, now: world.now, calls: world.calls.clone() });
        for input in after.iter().chain([&Input::Drain, &Input::Closed, &Input::Drain]) {
            let expected = world.take(input);
            for twin in &mut twins {
                prop_assert_eq!(&twin.take(input), &expected);
            }
        }
        let image = serde_json::to_string(&world.client).unwrap();
        for twin in &twins {
            prop_assert_eq!(&serde_json::to_string(&twin.client).unwrap(), &image);
        }
    }
}
