//! What would happen to a packet: the evaluator on the live generation, and the dataplane's word
//! on the way out.

use axum::Json;
use axum::extract::State;
use sluice_channel::{Neighbour, PortStatus};
use sluice_control_api::{EgressState, Explained, NextHopState};
use sluice_policy::explain::{Explanation, Query};
use sluice_policy::model::State as DesiredState;

use super::Answer;
use super::extract::Body;
use super::tables::state_name;
use crate::app::App;
use crate::error::ControlError;

pub(super) async fn explain(State(app): State<App>, Body(query): Body<Query>) -> Answer<Explained> {
    let neighbours = app.neighbours().await?;
    let ports = app.ports().await?;
    let view = app.view();
    let (policy, generation) = view.live()?;
    let mut explanation = sluice_policy::explain::explain(policy, &query)
        .map_err(|error| ControlError::Request(error.to_string()))?;
    // This process may have compiled the same state in fewer steps than the dataplane.
    explanation.generation = generation;
    Ok(Json(Explained {
        next_hop_state: next_hop_state(&explanation, &neighbours),
        egress_state: egress_state(&explanation, policy.state(), &ports),
        explanation,
    }))
}

fn next_hop_state(explanation: &Explanation, neighbours: &[Neighbour]) -> Option<NextHopState> {
    let (egress, next_hop) = (explanation.egress.as_ref()?, explanation.next_hop?);
    let known = neighbours
        .iter()
        .find(|neighbour| neighbour.interface == *egress && neighbour.address == next_hop);
    Some(NextHopState {
        state: known.map_or("unknown", |neighbour| state_name(neighbour.state)).into(),
        mac: known.and_then(|neighbour| neighbour.mac),
    })
}

fn egress_state(
    explanation: &Explanation,
    state: &DesiredState,
    ports: &[PortStatus],
) -> Option<EgressState> {
    let interface = state.interfaces.get(explanation.egress.as_ref()?)?;
    let port = ports.iter().find(|port| port.name == interface.port)?;
    Some(EgressState { port: port.name.clone(), link: port.link, error: port.error.clone() })
}
