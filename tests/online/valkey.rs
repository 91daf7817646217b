//! Valkey in place of Redis: the same stories, on a server that calls itself another name.

use crate::harness::redis::Redis;

#[test]
fn valkey_keeps_what_redis_keeps() {
    let Some(valkey) = Redis::valkey() else { return };
    let node = valkey.nodes().remove(0);
    assert_eq!(valkey.info(&node, "server_name").as_deref(), Some("valkey"));
    let version = valkey.info(&node, "valkey_version").expect("a version");
    super::same_bits(&valkey);
    super::behind(&valkey);
    super::fenced(&valkey);
    super::lost(&valkey);
    super::opened_again(&valkey);
    super::copied(&valkey);
    // Last: it sets the server up as none may be.
    super::not_ours(&valkey);
    eprintln!("the stories of the online store hold on Valkey {version}");
}
