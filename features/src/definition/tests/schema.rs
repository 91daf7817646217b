//! The JSON Schema for editors.

use super::*;
use serde_json::json;

#[test]
fn it_says_what_the_tables_say() {
    let schema = json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], json!(["sources", "entities", "views"]));
    assert_eq!(schema["properties"]["views"]["additionalProperties"], json!({ "$ref": "#/$defs/view" }));
    let feature = &schema["$defs"]["feature"];
    assert_eq!(feature["additionalProperties"], json!(false));
    assert_eq!(feature["oneOf"].as_array().map(Vec::len), Some(18));
    assert_eq!(
        feature["properties"]["k"],
        json!({ "type": "integer", "minimum": 1, "maximum": 1000, "description": "How many values first_k, last_k and top_k give." })
    );
    assert_eq!(schema["$defs"]["source"]["properties"]["when_all_idle"]["enum"], json!(["hold", "advance"]));
}
