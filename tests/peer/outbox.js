'use strict';
// Jobs that nobody has acked yet.

const { KEY, TOO_MANY_SENDS } = require('./messages');
const { emit } = require('./control');

const RESEND_MS = 2000;
const MAX_SENDS = 5;

class Outbox {
  constructor(bus) {
    this.bus = bus;
    this.pending = new Set();
  }

  send(job) {
    const entry = { job, sends: 0 };
    this.pending.add(entry);
    this.sendAgain(entry);
  }

  sendAgain(entry) {
    if (entry.sends === MAX_SENDS) {
      this.pending.delete(entry);
      emit('error', { error: TOO_MANY_SENDS, id: entry.job.id, data: entry.job.data });
      return;
    }
    entry.sends += 1;
    this.bus.tell(KEY.next, entry.job);
    emit('sent', { id: entry.job.id, attempt: entry.sends, job: entry.job });
    entry.timer = setTimeout(() => this.sendAgain(entry), RESEND_MS);
  }

  /** Whether the job was one of these. Ids collide; an ack settles all that have it. */
  settle(id) {
    let found = false;
    for (const entry of this.pending) {
      if (entry.job.id !== id) continue;
      clearTimeout(entry.timer);
      this.pending.delete(entry);
      found = true;
    }
    return found;
  }

  clear() {
    for (const entry of this.pending) clearTimeout(entry.timer);
    this.pending.clear();
  }
}

module.exports = { Outbox };
