'use strict';
// One end of the bus as MicroServices.js has it, for the tests: `node peer.js SETTINGS`, SETTINGS being JSON.
//
//   {"role": "worker",  "url", "codec", "type", "does": "echo" | "trace" | "keep", "to": [ADDR, …], "delay": MS, "silent": BOOL}
//   {"role": "manager", "url", "codec", "keepalive": MS, "target": "id" | "object"}
//   {"role": "codec",   "codec"}
//
// Commands (standard input) and events (standard output) are JSON objects, one a line; tests/src/peer/ says what each
// means. The process ends with 1 where the original would be disconnected for good: a message that it cannot read.

const { codec } = require('./codec');
const { emit, fail, listen } = require('./control');
const { Manager } = require('./manager');
const { Worker } = require('./worker');

async function leave(role) {
  await role.stop();
  emit('stopped');
  process.exit(0);
}

const ROLES = {
  async worker(settings) {
    const worker = await Worker.start(settings);
    listen({
      send: (order) => worker.send(order),
      send_many: (order) => worker.sendMany(order),
      stop: () => leave(worker),
    });
    return worker.self;
  },

  async manager(settings) {
    const manager = await Manager.start(settings);
    listen({
      ask: () => manager.ask(),
      poll: () => manager.poll(),
      stop: () => leave(manager),
    });
    return manager.self;
  },

  async codec(settings) {
    const { decode, encode } = codec(settings.codec);
    listen({
      decode: (hex) => emit('decoded', { value: decode(Buffer.from(hex, 'hex')) }),
      encode: (value) => emit('encoded', { body: encode(value).toString('hex') }),
      stop: () => process.exit(0),
    });
    return {};
  },
};

const settings = JSON.parse(process.argv[2]);
ROLES[settings.role](settings).then(
  (self) => emit('ready', self),
  (error) => fail('failed', { reason: error.message }),
);
