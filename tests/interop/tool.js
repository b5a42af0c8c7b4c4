// node tool.js FOLDER MASTER SERVICE: a tool made of the AllexJS libraries. It asks the master with
// that process number, over its local sockets in FOLDER, for all that tools ask of a master; SERVICE
// is the name of a service that it waits for. A line of JSON for each answer; ends with the master.
'use strict';
const [folder, master, service] = process.argv.slice(2);
const lib = require('allexlib');
lib.ws = require('allex_wslib')(lib);
const execlib = require('allex_servercore')(lib), suite = execlib.execSuite, registry = suite.registry;
// What they log goes to the standard error output: the other one is for the test.
console.log = console.error;
const tell = (what, value) => process.stdout.write(JSON.stringify([what, value]) + '\n');

// Their clients know a service by its module. These modules are not published; what such a module
// says to a client is which methods there are.
function know(modulename, role, methods) {
  const Base = registry.getClientSide('.').get(role), sinks = new lib.Map();
  function Sink(properties, client) { Base.call(this, properties, client); }
  Base.inherit(Sink, methods);
  Object.assign(Sink.prototype, {role, modulename});
  sinks.add(role, Sink);
  registry.registerClientSide(modulename, sinks);
}

const connect = (socket, role) => new Promise((resolve, reject) => suite.taskRegistry.run('acquireSink', {
  connectionString: `socket://${folder}/${socket}.${master}`,
  identity: {samemachineprocess: {pid: process.pid, role}},
  onSink: (sink) => sink && resolve(sink),
  onCannotConnect: reject,
  singleshot: true,
}));
const answer = (promise, onProgress) => new Promise((resolve, reject) => promise.then(resolve, reject, onProgress));
const readName = (sink) => new Promise((resolve) => suite.taskRegistry.run('readState', {
  state: suite.taskRegistry.run('materializeState', {sink}),
  name: 'name',
  cb: (name) => name && resolve(name),
}));

async function rows(sink, query) {
  const found = [];
  await answer(sink.sessionCall('query', query), (event) => event[0] === 'r1' && found.push(event[2]));
  return found;
}

// The row of the service, now or as soon as there is one.
const appears = (sink) => new Promise((resolve, reject) => {
  const filter = {op: 'eq', field: 'instancename', value: service};
  answer(sink.sessionCall('query', {continuous: true, filter}), (event) => {
    if (event[0] === 'r1') resolve(event[2]);
    if (event[0] === 'c') resolve(event[1]);
  }).catch(reject);
});

async function main() {
  await answer(lib.initUid());
  await answer(registry.registerClientSide('.'));
  const name = [{title: 'Name', type: 'string'}];
  know('allex_masterservice', 'service', {addNeed: [{title: 'Need', type: 'object'}], removeNeed: name, notifyModuleEngaged: name});
  know('allex_availablelanservicesservice', 'service', {});
  know('allex_natservice', 'user', {});

  const machine = await connect('allexmachinemanager', 'service');
  tell('machine', [machine.modulename, machine.role]);
  tell('our name there is our process', (await readName(machine)) === process.pid);
  const child = await appears(machine);
  tell('child', [child.instancename, child.modulename, child.pid > 0]);
  tell('engaged', await answer(machine.call('notifyModuleEngaged', 'allex_x')));
  tell('added', await answer(machine.call('addNeed', {instancename: 'Added', modulename: 'no:such', propertyhash: {}})));
  tell('removed', await answer(machine.call('removeNeed', 'Added')));
  tell('refused', await answer(machine.call('addNeed', {modulename: 'm'})).then(() => 'not', (error) => error.code));

  const lan = await connect('availablelanservices', 'service');
  const listed = await appears(lan);
  tell('listed', [lan.modulename, listed.instancename, listed.ipaddress, listed.httpport === child.httpport]);
  tell('LanManager', (await rows(lan, {filter: {op: 'eq', field: 'instancename', value: 'LanManager'}})).length);

  const nat = await connect('nat', 'user');
  const lookup = {op: 'natlookup', iaddress: '192.168.1.1', iport: 12345};
  tell('translated', [nat.modulename, (await rows(nat, {filter: lookup})).map((row) => [row.eaddress, row.eport])]);

  machine.destroyed.attachForSingleShot(() => { tell('lost', true); process.exit(0); });
  tell('done', true);
}
main().catch((reason) => { console.error(reason); process.exit(1); });
