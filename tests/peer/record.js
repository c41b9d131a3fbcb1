'use strict';
// Writes golden.json: every kind of message in every codec, as the original's libraries write it. Run it by hand after a
// change of the protocol or of the libraries, `node tests/peer/record.js`, and read the diff.

const fs = require('node:fs');
const path = require('node:path');
const { codec, names } = require('./codec');
const { NOTIFICATIONS, POLLING, KEY, GET_ALL_TEXT, LIST_REQUEST_TEXT, job, taken, noWorker } = require('./messages');

const WORKER = { id: 'WB:1460306476102', type: 'WB' };
const OTHER = { id: 'WB:1460306476103-7f3a', type: 'WB' };
const SENDER = { id: 'WA:1460306476101', type: 'WA' };
const PIPELINE = ['WB:*', 'WA:1460306476101'];

/** Written in the same bytes by everybody: keys in alphabetical order, no number whose form is a matter of taste. */
const PLAIN = { flag: true, list: [1, 'two', { three: 3 }], none: null, number: -70000, small: 7, text: 'é' };
/** Numbers that the codecs write in different forms: a time, fractions (exact as a float32 and not), negative, large. */
const NUMBERS = { time: 1460306476102, half: 1.5, tenth: 0.1, minus: -1460306476102, large: 2 ** 53 - 1 };

const next = job(PIPELINE, 0, PLAIN, SENDER, 'J1460306476104');
const direct = job([WORKER.id], 0, PLAIN, SENDER, 'J1460306476105');
const request = { method: 'GET', params: {}, resId: undefined, time: 1460306476102 };

const MESSAGES = [
  ['announce', KEY.announce, WORKER],
  ['announce_suffix', KEY.announce, OTHER],
  ['announce_readme', 'worker.new', WORKER],
  ['answer', KEY.answer, WORKER],
  ['farewell', KEY.del, WORKER],
  ['list', KEY.list, [{ worker: WORKER, isNext: true }, { worker: OTHER, isNext: false }]],
  ['next', KEY.next, next],
  ['next_by_id', KEY.next, direct],
  ['next_second', KEY.next, job(PIPELINE, 1, PLAIN, SENDER, 'J1460306476104')],
  ['next_bare_type', KEY.next, job(['WB'], 0, PLAIN, SENDER, 'J1460306476104')],
  ['next_without_data', KEY.next, job(PIPELINE, 0, undefined, SENDER, 'J1460306476104')],
  ['next_null', KEY.next, job(PIPELINE, 0, null, SENDER, 'J1460306476104')],
  ['next_text', KEY.next, job(PIPELINE, 0, 'just text', SENDER, 'J1460306476104')],
  ['next_array', KEY.next, job(PIPELINE, 0, [1, [2, {}], 'x'], SENDER, 'J1460306476104')],
  ['next_numbers', KEY.next, job(PIPELINE, 0, NUMBERS, SENDER, 'J1460306476104')],
  ['next_undefined_key', KEY.next, job(PIPELINE, 0, request, SENDER, 'J1460306476104')],
  ['ack', KEY.ack, taken(next, false)],
  ['ack_by_id', KEY.ack, taken(direct, true)],
  ['error_id', KEY.error, noWorker(next, 'id')],
  ['error_object', KEY.error, noWorker(next, 'object')],
  ['error_without_data', KEY.error, noWorker(job(PIPELINE, 0, undefined, SENDER, 'J1460306476104'), 'id')],
];

/** A line of golden.json; nothing where the codec cannot write it, in which case the original sends nothing. */
function record(name, [kind, key, message]) {
  try {
    const body = codec(name).encode(message).toString('hex');
    return [{ kind, codec: name, exchange: NOTIFICATIONS, key, body, meaning: message }];
  } catch {
    return [];
  }
}

const raw = (kind, exchange, key, body) => ({ kind, codec: null, exchange, key, body: body.toString('hex') });

const lines = [
  ...names.flatMap((name) => MESSAGES.flatMap((message) => record(name, message))),
  raw('get_all', NOTIFICATIONS, KEY.getAll, GET_ALL_TEXT),
  raw('list_request', POLLING, KEY.list, LIST_REQUEST_TEXT),
];
const text = `[\n${lines.map((line) => JSON.stringify(line)).join(',\n')}\n]\n`;
fs.writeFileSync(path.join(__dirname, 'golden.json'), text);
