'use strict';
// A worker of the original: what it hears, what it answers. A sender is a worker whose jobs are the results.

const { Bus } = require('./bus');
const { Outbox } = require('./outbox');
const { Pool } = require('./pool');
const { emit } = require('./control');
const { NOTIFICATIONS, KEY, job, taken, id } = require('./messages');

/** What can be done with a job: its data in, its result out. */
const DOES = {
  echo: (data) => data,
  trace: (data, self) => ({ ...data, trace: [...(data?.trace ?? []), self.id] }),
};

class Worker {
  static async start({ url, codec, type, ...options }) {
    const worker = new Worker();
    worker.self = { id: id(`${type}:`), type };
    worker.options = options;
    worker.isThisType = new RegExp(`${type}:[0-9]{13}`);
    worker.pool = new Pool(worker.self);
    worker.bus = await Bus.connect(url, codec);
    worker.outbox = new Outbox(worker.bus);
    await worker.listen();
    worker.bus.tell(KEY.announce, worker.self);
    return worker;
  }

  async listen() {
    await this.bus.hear(KEY.announce, (other) => this.onAnnounced(other));
    await this.bus.hearRaw(NOTIFICATIONS, KEY.getAll, () => this.bus.tell(KEY.answer, this.self));
    await this.bus.hear(KEY.list, (list) => this.onList(list));
    await this.bus.hear(KEY.del, ({ id, type }) => type === this.self.type && this.pool.remove(id));
    await this.bus.hear(KEY.next, (job) => this.onNext(job));
    await this.bus.hear(KEY.ack, (job) => this.onAck(job));
    await this.bus.hear(KEY.error, (error) => this.onError(error));
  }

  onAnnounced(other) {
    if (other.type !== this.self.type) return;
    this.pool.add(other);
    if (this.pool.isFirst()) this.bus.tell(KEY.list, this.pool.members);
  }

  onList(list) {
    if (list[0]?.worker.type !== this.self.type) return;
    this.pool.replace(list);
    emit('pool', { pool: this.pool.members });
  }

  onNext(job) {
    const address = job.workers_list[job.workers_list_id];
    if (this.isThisType.test(address)) {
      if (address === this.self.id) this.take(job, true);
    } else if (address === `${this.self.type}:*` && this.pool.isMyTurn()) {
      this.take(job, false);
    }
  }

  /** Acks before it does anything. */
  take(job, byId) {
    const isLast = job.workers_list_id >= job.workers_list.length - 1;
    const after = taken(job, byId);
    if (!this.options.silent) this.bus.tell(KEY.ack, after);
    emit(this.options.does === 'keep' ? 'result' : 'took', { id: job.id, byId, data: job.data, job });
    if (this.options.does !== 'keep') setTimeout(() => this.do(after, isLast), this.options.delay ?? 0);
  }

  do(job, isLast) {
    const result = DOES[this.options.does](job.data, this.self);
    emit('done', { id: job.id, data: result });
    if (this.options.to) {
      this.send({ to: this.options.to.map((address) => (address === '$sender' ? job.sender.id : address)), data: result });
    } else if (!isLast) {
      // The original forwards at the last entry, too, if its author says so, and then sends to itself for ever.
      this.send({ to: job.workers_list, position: job.workers_list_id, data: result });
    }
  }

  send({ to, position = 0, data }) {
    this.outbox.send(job(to, position, data, this.self, id('J')));
  }

  /** Sends `count` jobs, `every` so many milliseconds. In one millisecond they get one id. */
  async sendMany({ count, every, data, ...rest }) {
    for (let number = 0; number < count; number += 1) {
      if (number > 0 && every > 0) await new Promise((resolve) => setTimeout(resolve, every));
      this.send({ ...rest, data: { ...data, number } });
    }
  }

  onAck(job) {
    if (this.outbox.settle(job.id)) emit('ack', { id: job.id, job });
    // The original looks at the type of the job's sender, not of its taker.
    if (!job.ignoreUpdate && job.sender.type === this.self.type) this.pool.rotate();
  }

  onError(error) {
    if (error.target !== this.self.id) return;
    this.outbox.settle(error.id);
    const { target, ...rest } = error;
    emit('error', rest);
  }

  async stop() {
    this.outbox.clear();
    this.bus.tell(KEY.del, this.self);
    await this.bus.close();
  }
}

module.exports = { Worker };
