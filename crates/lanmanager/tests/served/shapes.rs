//! Errors have the shapes that were recorded from the JavaScript LanManager.

use serde_json::{Value, json};

use crate::setting::{Master, Setting, time};

/// A request and the frame that answers it, with `ROOT` for the root session.
async fn answers(root: &str, client: &mut crate::client::Client, rest: &[Value]) -> Value {
    let id = client.request(rest);
    let answer = client.answer(&id).await;
    let text = answer
        .to_string()
        .replace(root, "ROOT")
        .replace(&format!("\"{id}\""), "\"ID\"");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn refusals_have_the_recorded_shapes() {
    let setting = Setting::with_needs(time()).await;
    let mut client = setting.client().await;
    let root = client.introduce().await;
    let root_call =
        |method: &str, arguments: Value| [json!([root, null]), json!([".", [method, arguments]])];
    let cases = [
        (
            vec![json!(["nosuchsession", null])],
            json!(["f", ["ID", ["nosuchsession", null]]]),
        ),
        (
            vec![json!(["nosuchsession", null]), json!(["!", ["die", []]])],
            json!(["f", ["ID", ["nosuchsession", null], ["!", ["die", []]]]]),
        ),
        (
            vec![json!([null, null])],
            json!(["f", ["ID", [null, null]]]),
        ),
        (
            root_call("nosuchmethod", json!([])).into(),
            json!(["e", "ID", {"code": "METHOD_DOES_NOT_EXIST", "message": "Method nosuchmethod does not exist"}]),
        ),
        (
            root_call("deleteMyNeeds", json!([])).into(),
            json!(["e", "ID", {"code": "METHOD_NOT_EXECUTABLE", "message": "Method deleteMyNeeds is not executable"}]),
        ),
        (
            root_call("notifyServiceDown", json!([{"a": 1}])).into(),
            json!(["e", "ID", {"code": "Service instancename:  is not of a type(s) string", "message": ""}]),
        ),
        (
            root_call("notifyServiceDown", json!([])).into(),
            json!(["r", "ID", 0]),
        ),
        (
            root_call("notifyServiceDown", json!(["nobody"])).into(),
            json!(["r", "ID", 0]),
        ),
        (
            root_call("addNeed", json!([{"modulename": "x"}])).into(),
            json!(["e", "ID", {"code": "NEED_NOT_DEFINED", "message": ""}]),
        ),
        (
            vec![json!([root, null]), json!(["nosub", ["x", []]])],
            json!(["f", ["ID", ["ROOT", null], ["nosub", ["x", []]]]]),
        ),
        (
            vec![
                json!([root, null]),
                json!(["!", ["subConnect", ["needs", {"role": "nosuchrole"}]]]),
            ],
            json!(["e", "ID", {}]),
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(answers(&root, &mut client, &request).await, expected);
    }
}

#[tokio::test]
async fn unusable_credentials_are_answered_without_a_number_and_may_be_repeated() {
    let setting = Setting::with_needs(time()).await;
    let mut client = setting.client().await;
    client.request(&[json!([null, {"nosuchstrategy": {"name": "x", "role": "user"}}])]);
    client.wait_for(|frame| *frame == json!({"err": {}})).await;
    client.introduce().await;
}

#[tokio::test]
async fn a_json_text_that_is_no_frame_is_echoed() {
    let setting = Setting::with_needs(time()).await;
    let mut client = setting.client().await;
    client.send_text("not json");
    client.send(&json!("string"));
    client
        .wait_for(|frame| *frame == json!(["f", "string"]))
        .await;
}

#[tokio::test]
async fn a_session_of_the_role_service_has_no_methods_of_users() {
    let setting = Setting::with_needs(time()).await;
    let mut client = setting.client().await;
    let id = client.request(&[json!([null, {"ip": {"name": "x", "role": "service"}}])]);
    let answer = client.answer(&id).await;
    assert_eq!(answer[2]["role"], "service");
    let session = answer[2]["session"].as_str().unwrap().to_owned();
    let refused = client
        .ask(&session, ".", "addNeed", json!([{"instancename": "A"}]))
        .await;
    assert_eq!(refused["error"]["code"], "METHOD_DOES_NOT_EXIST");
    let services = client.sub_connect(&session, "services").await;
    assert!(client.rows(&services).await.is_empty());
}

#[tokio::test]
async fn bids_and_responses_that_do_not_fit_are_refused() {
    let elsewhere = json!([{"instancename": "Far", "modulename": "m", "ipaddress": "10.0.0.0/8"},
        {"instancename": "Time", "modulename": "m"}]);
    let setting = Setting::with_needs(elsewhere).await;
    let mut master = Master::connect(&setting).await;
    let (far, bid) = master.bid("Far").await;
    assert_eq!(bid, json!({"rejected": true}));
    let refused = master
        .client
        .ask(&far, "!", "respond", json!(["x", {}]))
        .await;
    let destroyed = json!({"error": {"code": "ALREADY_DESTROYED", "message": ""}});
    assert_eq!(refused, destroyed);
    let (session, bid) = master.bid("Time").await;
    let nowhere = json!([bid["bid"], {"ipaddress": "127.0.0.1", "pid": 1}]);
    let refused = master.client.ask(&session, "!", "respond", nowhere).await;
    assert_eq!(refused["error"]["code"], "NO_PORTS_REACHABLE");
    let placeless = json!([bid["bid"], {"httpport": 1}]);
    let refused = master.client.ask(&session, "!", "respond", placeless).await;
    assert_eq!(refused["error"]["code"], "INCOMPLETE_RESPONSE");
    let wrong = json!(["bid-0", {"ipaddress": "127.0.0.1", "pid": 1, "httpport": 1}]);
    let refused = master.client.ask(&session, "!", "respond", wrong).await;
    assert_eq!(refused["error"]["code"], "BIDDING_MISMATCH");
}
