// node client.js URL...: talks to a LanManager with the carriers that the AllexJS libraries use, the
// SignalR client (http://…) and the WebSocket client (ws://…). Prints what it is told, a line of JSON
// for each frame, until it is let in and has read the needs.
'use strict';
const urls = process.argv.slice(2);

function converse(url, send, onFrame) {
  let needs;
  onFrame((frame) => {
    process.stdout.write(JSON.stringify({url, frame}) + '\n');
    const [kind, id, value] = frame;
    if (kind === '?') send(['!', id]);
    if (kind === 'r' && id === '1') send(['2', [value.session, null], ['!', ['subConnect', ['needs', {role: 'user', name: url}]]]]);
    if (kind === 'r' && id === '2') { needs = value.introduce.session; send(['3', [needs, null]]); send(['4', [needs, null], ['!', ['confirmReservation', []]]]); }
    if (kind === 'r' && id === '4') send(['5', [needs, null], ['!', ['query', [{filter: '*'}]]]]);
    if (kind === 'r' && id === '5' && --left === 0) process.exit(0);
  });
  send(['1', [null, {ip: {name: 'any_name', role: 'user'}}]]);
}

async function overSignalR(url) {
  const signalR = require('@microsoft/signalr');
  const connection = new signalR.HubConnectionBuilder().withUrl(url).configureLogging(signalR.LogLevel.Error).build();
  let take = () => {}, chunks = '';
  connection.on('_', (text) => {
    const [frame] = JSON.parse(text);
    if (frame[0] !== '~') return take(frame);
    chunks += frame[2];
    if (frame[1] < 1) { take(JSON.parse(chunks)[0]); chunks = ''; }
  });
  await connection.start();
  converse(url, (frame) => connection.send('allexjs', frame), (taker) => { take = taker; });
}

function overWebSocket(url) {
  const WebSocket = require('ws'), socket = new WebSocket(url);
  socket.on('error', fail);
  socket.on('open', () => converse(url, (frame) => socket.send(JSON.stringify(frame)),
    (taker) => socket.on('message', (batch) => batch.toString().split('\0').forEach((text) => taker(JSON.parse(text))))));
}

function fail(reason) { console.error(reason); process.exit(1); }
let left = urls.length;
urls.forEach((url) => (url.startsWith('http') ? overSignalR(url).catch(fail) : overWebSocket(url)));
