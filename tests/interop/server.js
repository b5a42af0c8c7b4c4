// node server.js FOLDER HTTP WS: a service of the published AllexJS libraries, the plain one that
// every other is made of, on a Unix socket in FOLDER, a SignalR port and a WebSocket port. Says
// "listening" when it is there, and ends with its input.
'use strict';
const [folder, http, ws] = process.argv.slice(2);
const lib = require('allexlib');
lib.ws = require('allex_wslib')(lib);
const execlib = require('allex_servercore')(lib);
const strategies = {ip: [{ip: '127.0.0.1/32', role: 'user'}]};

// What it logs goes to the standard error output: the other one is for the test.
console.log = console.error;
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
// It also listens on what it is given alone.
const net = require('net'), listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  return typeof port === 'number' ? listen.call(this, port, '127.0.0.1', ...rest.filter((r) => typeof r !== 'string')) : listen.call(this, port, ...rest);
};

lib.initUid()
  .then(() => execlib.execSuite.start({
    service: {modulename: '.', instancename: 'Plain', propertyhash: {}},
    ports: [
      {protocol: {name: 'socket'}, port: folder + '/plain', strategies: {samemachineprocess: true}},
      {protocol: {name: 'http'}, port: Number(http), strategies},
      {protocol: {name: 'ws'}, port: Number(ws), strategies},
    ],
  }))
  .then(
    () => process.stdout.write('listening\n'),
    (reason) => { console.error(reason); process.exit(1); }
  );
