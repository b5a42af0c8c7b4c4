//! Needs become services, over real sockets.

use allexmaster_lanmanager::Door;
use serde_json::{Value, json};

use crate::setting::{AT_ONCE, FOR_EVER, Master, Setting, dead_port, live_port, time};

/// Identifiers differ from run to run: each is replaced by a short name.
#[track_caller]
fn assert_conversation(name: &str, lines: &[String]) {
    allexmaster_testkit::assert_snapshot(
        &format!("lanmanager__{name}"),
        &lines.join(
            "
",
        ),
    );
}

#[tokio::test]
async fn a_need_is_satisfied_over_every_carrier() {
    for door in Door::ALL {
        let setting = Setting::with_needs(time()).await;
        let mut master = Master::over(setting.client_at(door).await).await;
        let (needs, _) = master.client.follow(&master.needs.clone()).await;
        let (services, rows) = master.client.follow(&master.services.clone()).await;
        assert!(rows.is_empty());
        let (_listener, port) = live_port().await;
        master.satisfy("Time", port).await;
        let update = master.client.progress(&needs).await;
        assert_eq!(update[0], "u", "{door}");
        assert_eq!(update[2]["closed"], true);
        assert_eq!(update[2]["httpport"], port);
        let gone = json!(["d", {"op": "eq", "field": "instancename", "value": "Time"}]);
        assert_eq!(master.client.progress_of_kind(&needs, "d").await, gone);
        let created = master.client.progress(&services).await;
        assert_eq!(created[0], "c");
        assert_eq!(created[1]["ipaddress"], "127.0.0.1");
        assert_eq!(created[1].get("pid"), None);
    }
}

#[tokio::test]
async fn the_whole_conversation_has_the_recorded_shape() {
    let setting = Setting::with_needs(time()).await;
    let mut client = setting.client().await;
    let mut lines = Vec::new();
    let id = client.request(&[json!([null, {"ip": {"name": "any_name", "role": "user"}}])]);
    let answer = client.answer(&id).await;
    let root = answer[2]["session"].as_str().unwrap().to_owned();
    let hide = |frame: &Value| frame.to_string().replace(&root, "ROOT");
    lines.extend(client.others().map(hide));
    lines.push(hide(&answer));
    let needs = client.sub_connect(&root, "needs").await;
    let row = client.rows(&needs).await.remove(0);
    lines.push(row.to_string());
    let answer = client
        .ask(&needs, "!", "subConnect", json!(["Time", {"name": "me"}]))
        .await;
    let session = answer["introduce"]["session"].as_str().unwrap().to_owned();
    lines.push(answer.to_string().replace(&session, "NEED"));
    let id = client.request(&[json!([session, null])]);
    let introduced = client.answer(&id).await;
    lines.push(introduced.to_string().replace(&session, "NEED"));
    let bid = client
        .ask(&session, "!", "bid", json!([{"ipaddress": "127.0.0.1"}]))
        .await;
    assert!(bid["bid"].is_string());
    assert_eq!(bid["c"], true);
    assert_conversation("conversation", &lines);
}

#[tokio::test]
async fn a_second_bidder_waits_and_its_session_ends_with_the_need() {
    let setting = Setting::with_needs(time()).await;
    let mut first = Master::connect(&setting).await;
    let mut second = Master::connect(&setting).await;
    let (session, bid) = first.bid("Time").await;
    let waiting = second
        .client
        .sub_connect(&second.needs.clone(), "Time")
        .await;
    let open = second
        .client
        .call(&waiting, "!", "bid", json!([{"ipaddress": "127.0.0.1"}]));
    let (_listener, port) = live_port().await;
    let answer = first.respond(&session, &bid["bid"], port).await;
    assert_eq!(answer, json!({"a": bid["bid"]}));
    for (master, session) in [(&mut first, session), (&mut second, waiting)] {
        let death = json!(["oob", [session, "-", true]]);
        master.client.wait_for(|frame| *frame == death).await;
    }
    // Everything that could answer the second bid has happened before this answer.
    assert_eq!(second.service_names().await, ["Time"]);
    assert!(
        second
            .client
            .others()
            .all(|frame| frame[1] != open.as_str())
    );
}

#[tokio::test]
async fn the_second_bidder_has_its_turn_when_the_first_dies() {
    let setting = Setting::with_needs(time()).await;
    let mut first = Master::connect(&setting).await;
    let mut second = Master::connect(&setting).await;
    let (session, _) = first.bid("Time").await;
    let waiting = second
        .client
        .sub_connect(&second.needs.clone(), "Time")
        .await;
    let open = second
        .client
        .call(&waiting, "!", "bid", json!([{"ipaddress": "127.0.0.1"}]));
    assert_eq!(
        first.client.ask(&session, "!", "die", json!([])).await,
        "dead"
    );
    let answer = second.client.answer(&open).await;
    assert_eq!(answer[2]["c"], true);
    let (_listener, port) = live_port().await;
    let accepted = second.respond(&waiting, &answer[2]["bid"], port).await;
    assert_eq!(accepted, json!({"a": answer[2]["bid"]}));
}

#[tokio::test]
async fn dead_ports_are_refused_and_the_ticket_stays_good() {
    let setting = Setting::with_needs(time()).await;
    let mut master = Master::connect(&setting).await;
    let (session, bid) = master.bid("Time").await;
    let refused = master
        .respond(&session, &bid["bid"], dead_port().await)
        .await;
    assert_eq!(
        refused,
        json!({"error": {"code": "NO_PORTS_REACHABLE", "message": ""}})
    );
    let (_listener, port) = live_port().await;
    let accepted = master.respond(&session, &bid["bid"], port).await;
    assert_eq!(accepted, json!({"a": bid["bid"]}));
}

#[tokio::test]
async fn a_service_reported_down_is_a_need_again() {
    let setting = Setting::with_needs(time()).await;
    let mut master = Master::connect(&setting).await;
    let (_listener, port) = live_port().await;
    master.satisfy("Time", port).await;
    let (needs, _) = master.client.follow(&master.needs.clone()).await;
    let down = master
        .client
        .ask(
            &master.root.clone(),
            ".",
            "notifyServiceDown",
            json!(["Time"]),
        )
        .await;
    assert_eq!(down, 1);
    let created = master.client.progress_of_kind(&needs, "c").await;
    assert_eq!(created[1]["instancename"], "Time");
    assert_eq!(created[1]["pid"], Value::Null);
    let again = master
        .client
        .ask(
            &master.root.clone(),
            ".",
            "notifyServiceDown",
            json!(["Time"]),
        )
        .await;
    assert_eq!(again, 0);
    master.satisfy("Time", port).await;
}

#[tokio::test]
async fn a_gone_masters_services_become_needs_after_the_grace() {
    let setting = Setting::with(time(), AT_ONCE).await;
    let mut watcher = Master::connect(&setting).await;
    let (needs, _) = watcher.client.follow(&watcher.needs.clone()).await;
    let mut master = Master::connect(&setting).await;
    let (_listener, port) = live_port().await;
    master.satisfy("Time", port).await;
    watcher.client.progress_of_kind(&needs, "d").await;
    drop(master);
    watcher.client.progress_of_kind(&needs, "c").await;
    assert!(watcher.service_names().await.is_empty());
}

#[tokio::test]
async fn within_the_grace_only_a_reconnect_makes_services_needs() {
    let setting = Setting::with(time(), FOR_EVER).await;
    let mut watcher = Master::connect(&setting).await;
    let mut master = Master::connect(&setting).await;
    let (_listener, port) = live_port().await;
    master.satisfy("Time", port).await;
    // A second client of the same address does not take the service away.
    let bystander = Master::connect(&setting).await;
    assert_eq!(watcher.service_names().await, ["Time"]);
    drop(bystander);
    let dead = master
        .client
        .ask(&master.root.clone(), "!", "die", json!([]))
        .await;
    assert_eq!(dead, "dead");
    assert_eq!(watcher.service_names().await, ["Time"]);
    let mut again = Master::connect(&setting).await;
    assert_eq!(again.need_names().await, ["Time"]);
    assert!(again.service_names().await.is_empty());
}

#[tokio::test]
async fn services_and_needs_survive_a_restart() {
    let setting = Setting::with_needs(time()).await;
    let mut master = Master::connect(&setting).await;
    let (_listener, port) = live_port().await;
    master.satisfy("Time", port).await;
    let need = json!([{"instancename": "Web", "modulename": "exec:web", "propertyhash": {}}]);
    assert_eq!(
        master
            .client
            .ask(&master.root.clone(), ".", "addNeed", need)
            .await,
        true
    );
    let setting = setting.restart(FOR_EVER).await;
    assert_eq!(setting.file("needs.runtime").as_array().unwrap().len(), 2);
    // The first connection after the restart is the master's: it is asked again.
    let mut master = Master::connect(&setting).await;
    assert_eq!(master.need_names().await, ["Time", "Web"]);
    master.satisfy("Time", port).await;
    let mut setting = setting;
    for _ in 0..2 {
        setting = setting.restart(AT_ONCE).await;
    }
    let mut master = Master::connect(&setting).await;
    assert_eq!(master.need_names().await, ["Time", "Web"]);
}

#[tokio::test]
async fn needs_are_added_and_removed_and_written_to_their_file() {
    let setting = Setting::with_needs(json!([])).await;
    let mut master = Master::connect(&setting).await;
    let (needs, _) = master.client.follow(&master.needs.clone()).await;
    let root = master.root.clone();
    let need = json!([{"instancename": "Web", "modulename": "exec:web", "propertyhash": {}}]);
    assert_eq!(master.client.ask(&root, ".", "addNeed", need).await, true);
    let created = master.client.progress_of_kind(&needs, "c").await;
    let strategies = json!({"ip": [
        {"ip": "127.0.0.1/32", "role": "user"},
    ]});
    assert_eq!(created[1]["strategies"], strategies);
    assert_eq!(created[1]["timeout"], 60);
    let (session, _) = master.bid("Web").await;
    assert_eq!(
        master
            .client
            .ask(&root, ".", "removeNeed", json!(["Web"]))
            .await,
        true
    );
    let death = json!(["oob", [session, "-", true]]);
    master.client.wait_for(|frame| *frame == death).await;
    master.client.progress_of_kind(&needs, "d").await;
    let other = json!([{"instancename": "Other", "modulename": "m"}]);
    assert_eq!(master.client.ask(&root, ".", "addNeed", other).await, true);
    let folder = setting.folder;
    setting.running.shutdown().await.unwrap();
    let file =
        std::fs::read_to_string(folder.path().join(".allexlanmanager/needs.runtime")).unwrap();
    let expected = json!([{"instancename": "Other", "modulename": "m", "strategies": strategies}]);
    assert_eq!(file, serde_json::to_string_pretty(&expected).unwrap());
}

#[tokio::test]
async fn who_asks_for_a_need_that_is_not_open_waits_for_it() {
    let setting = Setting::with_needs(json!([])).await;
    let mut master = Master::connect(&setting).await;
    let needs = master.needs.clone();
    let early = master
        .client
        .call(&needs, "!", "subConnect", json!(["Web", {"role": "user"}]));
    let need = json!([{"instancename": "Web", "modulename": "exec:web"}]);
    assert_eq!(
        master
            .client
            .ask(&master.root.clone(), ".", "addNeed", need)
            .await,
        true
    );
    let answer = master.client.answer(&early).await;
    assert_eq!(
        answer[2]["introduce"]["modulename"],
        "allex_serviceneedservice"
    );
}

#[tokio::test]
async fn nat_and_engaged_modules_are_served() {
    let setting = Setting::with_needs(json!([])).await;
    let mut client = setting.client().await;
    let root = client.introduce().await;
    let nat = client.sub_connect(&root, "nat").await;
    let row =
        json!({"iaddress": "192.168.1.1", "iport": 12345, "eaddress": "1.2.3.4", "eport": 80});
    assert_eq!(client.rows(&nat).await, [row]);
    let engaged = client
        .ask(
            &root,
            ".",
            "notifyModuleEngaged",
            json!(["allex_timeservice"]),
        )
        .await;
    assert_eq!(engaged, "allex_timeservice");
    let modules = client.sub_connect(&root, "engaged_modules").await;
    let rows = client.rows(&modules).await;
    let modules: Vec<_> = rows
        .iter()
        .map(|row| row["modulename"].as_str().unwrap())
        .collect();
    assert_eq!(
        modules,
        ["allex_dataservice", "allex_timeservice", "allexcore"]
    );
}

#[tokio::test]
async fn an_unsatisfied_query_sees_a_satisfied_need_leave() {
    let setting = Setting::with_needs(time()).await;
    let mut master = Master::connect(&setting).await;
    let query = json!([{"continuous": true, "filter": "unsatisfied"}]);
    let query = master
        .client
        .call(&master.needs.clone(), "!", "query", query);
    master.client.progress_of_kind(&query, "re").await;
    let (_listener, port) = live_port().await;
    master.satisfy("Time", port).await;
    assert_eq!(master.client.progress(&query).await[0], "d");
}
