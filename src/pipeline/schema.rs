//! The JSON Schema of a pipeline file, for editors: derived from the types of [`super::file`], so it cannot differ.

use super::file::PipelineFile;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The schema of a pipeline file. The keys of `strategy.parameters` are those of each strategy in `parameters`
/// (its name and the schema of its parameters).
pub fn pipeline_schema(parameters: &[(&str, Value)]) -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<PipelineFile>().to_value();
    let strategy = "/properties/venues/items/properties/strategy";
    if let Some(Value::Object(strategy)) = schema.pointer_mut(strategy) {
        describe_strategies(strategy, parameters);
    }
    schema
}

fn describe_strategies(strategy: &mut serde_json::Map<String, Value>, known: &[(&str, Value)]) {
    if known.is_empty() {
        return;
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    if let Some(name) = strategy.get_mut("properties").and_then(|p| p.get_mut("name")).and_then(Value::as_object_mut) {
        name.insert("enum".into(), names.into());
    }
    let choices = known.iter().map(|(name, parameters)| {
        let mut parameters = parameters.clone();
        if let Some(root) = parameters.as_object_mut() {
            root.remove("$schema");
        }
        serde_json::json!({
            "if": { "properties": { "name": { "const": name } } },
            "then": { "properties": { "parameters": parameters } },
        })
    });
    strategy.insert("allOf".into(), choices.collect());
}
