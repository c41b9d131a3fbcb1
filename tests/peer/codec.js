'use strict';
// The three codecs as MicroServices.js has them: its libraries, with their defaults.

const { serialize, deserialize } = require('bson');
const msgpack = require('msgpack5')();

const CODECS = {
  JSON: {
    encode: (value) => Buffer.from(JSON.stringify(value)),
    decode: (body) => JSON.parse(body.toString()),
  },
  msgpack: {
    encode: (value) => msgpack.encode(value).slice(),
    decode: (body) => msgpack.decode(body),
  },
  BSON: {
    encode: (value) => Buffer.from(serialize(value)),
    decode: (body) => deserialize(body),
  },
};

/** The codec of a name; as in the original, a name that it does not know means JSON. */
function codec(name) {
  return CODECS[name] ?? CODECS.JSON;
}

module.exports = { codec, names: Object.keys(CODECS) };
