//! Peers that misbehave are cut off, and everybody else goes on.

use allexmaster_lanmanager::Door;
use allexmaster_protocol::close::CloseReason;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::setting::{Master, Setting, live_port, time};

async fn assert_serves(setting: &Setting) {
    let mut master = Master::connect(setting).await;
    let (_listener, port) = live_port().await;
    master.satisfy("Time", port).await;
}

#[tokio::test]
async fn garbage_at_every_door_is_cut_off() {
    let setting = Setting::with_needs(time()).await;
    for door in Door::ALL {
        let mut stream = TcpStream::connect(setting.running.address(door).unwrap())
            .await
            .unwrap();
        stream.write_all(&[0xff; 4_096]).await.unwrap();
        let mut answer = Vec::new();
        // The connection ends, by an answer that says so or by a reset.
        drop(stream.read_to_end(&mut answer).await);
    }
    assert_serves(&setting).await;
}

#[tokio::test]
async fn a_length_of_a_gibibyte_is_cut_off_at_once() {
    let setting = Setting::with_needs(time()).await;
    let mut stream = TcpStream::connect(setting.running.address(Door::Tcp).unwrap())
        .await
        .unwrap();
    stream
        .write_all(&(1_u32 << 30).to_le_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    assert_serves(&setting).await;
}

#[tokio::test]
async fn half_a_frame_and_silence_hold_nobody_up() {
    let setting = Setting::with_needs(time()).await;
    let mut half = TcpStream::connect(setting.running.address(Door::Tcp).unwrap())
        .await
        .unwrap();
    half.write_all(&[200, 0, 0, 0, b'[']).await.unwrap();
    let mut silent = Vec::new();
    for door in Door::ALL {
        silent.push(
            TcpStream::connect(setting.running.address(door).unwrap())
                .await
                .unwrap(),
        );
    }
    assert_serves(&setting).await;
}

#[tokio::test]
async fn a_peer_that_opens_endless_sessions_is_cut_off() {
    let setting = Setting::with_needs(time()).await;
    let mut client = setting.client().await;
    let root = client.introduce().await;
    for _ in 0..10_000 {
        client.call(&root, "!", "subConnect", json!(["needs", {"role": "user"}]));
    }
    let reason = client.wait_for_end().await;
    assert_eq!(reason, CloseReason::ByPeer);
    assert_serves(&setting).await;
}

#[tokio::test]
async fn a_forbidden_address_is_turned_away_before_anything_is_read() {
    let setting = Setting::with_needs(time()).await;
    let address = setting.running.address(Door::Tcp).unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // Of all of 127.0.0.0/8 only 127.0.0.1 is let in.
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let mut client = Client::over_stream(stream);
    assert_eq!(client.wait_for_end().await, CloseReason::ByPeer);
    assert_serves(&setting).await;
}
