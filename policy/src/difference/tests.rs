//! Differences lead where they say, and digests tell states apart.

use proptest::prelude::*;

use crate::model::{Owner, Position, Route, RouteKey, State, Target};
use crate::policy::tests::state;

const FILES: [&str; 3] = [
    include_str!("../../../conf/lab.yaml"),
    include_str!("../../../conf/container.yaml"),
    include_str!("../../../conf/metal.yaml"),
];

#[test]
fn any_state_leads_to_any_other() {
    let mut states = FILES.map(state).to_vec();
    states.push(State::default());
    for from in &states {
        for to in &states {
            let delta = from.difference(to);
            assert_eq!(delta.operations.is_empty(), from == to);
            let mut arrived = from.clone();
            arrived.apply(&delta);
            assert_eq!(&arrived, to);
            assert_eq!(from.digests() == to.digests(), from == to);
        }
    }
}

fn routes() -> impl Strategy<Value = State> {
    proptest::collection::btree_map((0..6u8, 8..12u8), any::<bool>(), 0..12).prop_map(|routes| {
        let entry = |((net, length), reject)| {
            let prefix = format!("10.{net}.0.0/{}", length + 8).parse::<ipnet::IpNet>().unwrap();
            let key = RouteKey::main("default", prefix, Owner::Static);
            let target = if reject { Target::Reject } else { Target::Blackhole };
            let position = Position { file: "f".into(), line: u32::from(net), column: 1 };
            (key, Route::new(target, &Owner::Static, position))
        };
        let routes = routes.into_iter().map(entry).collect();
        State { routes, ..State::default() }
    })
}

proptest! {
    #[test]
    fn differences_are_exact(from in routes(), to in routes()) {
        let delta = from.difference(&to);
        let mut arrived = from.clone();
        let mut digests = from.digests();
        arrived.apply_digested(&delta, &mut digests);
        prop_assert_eq!(&arrived, &to);
        prop_assert_eq!(digests, to.digests());
        prop_assert_eq!(from.digests() == to.digests(), from == to);
        // Each step is needed: it changes something.
        for operation in &delta.operations {
            let mut step = from.clone();
            step.apply(&crate::model::Delta { operations: vec![operation.clone()] });
            prop_assert_ne!(&step, &from);
        }
    }
}
