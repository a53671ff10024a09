//! Operations as earlier releases wrote them, led over to what they mean now.

use serde_json::{Value, json};
use sluice_policy::model::{MAIN_TABLE, Operation, Owner};

/// An operation of a record of format 1, which commit `generation` is.
///
/// Routes had neither table, preference, metric, tag nor generation: they were in the main table
/// and preferred by owner.
pub(super) fn from_format_1(line: &[u8], generation: u64) -> serde_json::Result<Operation> {
    let mut operation: Value = serde_json::from_slice(line)?;
    if let Some([key, route]) = operation
        .get_mut("Route")
        .and_then(Value::as_array_mut)
        .and_then(|fields| <&mut [Value; 2]>::try_from(fields.as_mut_slice()).ok())
    {
        let owner: Owner = serde_json::from_value(key["owner"].clone())?;
        if let Some(key) = key.as_object_mut() {
            key.insert("table".into(), json!(MAIN_TABLE));
        }
        if let Some(route) = route.as_object_mut() {
            route.insert("preference".into(), json!(owner.preference()));
            route.insert("metric".into(), json!(0));
            route.insert("tag".into(), json!(0));
            route.insert("generation".into(), json!(generation));
        }
    }
    serde_json::from_value(operation)
}
