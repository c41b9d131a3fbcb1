'use strict';
// The test at the other end: commands on standard input, events on standard output, one JSON object a line.

const fs = require('node:fs');
const readline = require('node:readline');

/** Synchronous, so that nothing is lost when the process ends. */
function write(line) {
  let rest = Buffer.from(`${line}\n`);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(fs.writeSync(1, rest));
    } catch (error) {
      // The pipe is full: the test reads, so it will not be for long.
      if (error.code !== 'EAGAIN') process.exit(1);
    }
  }
}

function emit(event, details = {}) {
  write(JSON.stringify({ event, ...details }));
}

/** An event that is the last one. */
function fail(event, details) {
  emit(event, details);
  process.exit(1);
}

/** Calls `handlers[NAME](VALUE)` for each line `{"NAME": VALUE}`. Without a test at the other end there is nothing to do. */
function listen(handlers) {
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', async (line) => {
    const [[name, value]] = Object.entries(JSON.parse(line));
    try {
      if (!handlers[name]) throw new Error(`this role has no command ${name}`);
      await handlers[name](value);
    } catch (error) {
      fail('failed', { command: name, reason: error.message });
    }
  });
  lines.on('close', () => process.exit(0));
}

module.exports = { emit, fail, listen };
