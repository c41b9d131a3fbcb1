'use strict';
// The SystemManager of the original: who is there, and that nobody can do a job.

const { Bus } = require('./bus');
const { emit } = require('./control');
const { NOTIFICATIONS, POLLING, KEY, GET_ALL_TEXT, LIST_REQUEST_TEXT, noWorker, id } = require('./messages');

const ONE_WORKER = /.+:[0-9]{13}/;

class Manager {
  static async start({ url, codec, keepalive, target }) {
    const manager = new Manager();
    manager.self = { id: id('SM') };
    manager.target = target;
    manager.workers = new Map();
    manager.bus = await Bus.connect(url, codec);
    await manager.listen();
    manager.ask();
    if (keepalive > 0) manager.timer = setInterval(() => manager.ask(), keepalive);
    return manager;
  }

  async listen() {
    await this.bus.hear(KEY.anyAnnouncement, (worker) => this.onAnnounced(worker));
    await this.bus.hear(KEY.del, (worker) => this.onGone(worker));
    await this.bus.hear(KEY.next, (job) => this.onNext(job));
    await this.bus.hearRaw(POLLING, KEY.list, () => this.show({ asked: true }));
  }

  ask() {
    this.bus.tellRaw(NOTIFICATIONS, KEY.getAll, GET_ALL_TEXT);
  }

  onAnnounced(worker) {
    const { id, type } = worker;
    if (!ONE_WORKER.test(id)) return;
    emit('announced', { id, type });
    if (this.workers.has(id)) return;
    this.workers.set(id, { id, type });
    this.show();
  }

  /** Whoever dies without a word stays listed for ever. */
  onGone({ id }) {
    if (this.workers.delete(id)) this.show();
  }

  show(details) {
    emit('workers', { workers: [...this.workers.values()], ...details });
  }

  /** Answers whatever no listed worker can take. */
  onNext(job) {
    const address = job.workers_list[job.workers_list_id];
    const workers = [...this.workers.values()];
    const can = ONE_WORKER.test(address)
      ? this.workers.has(address)
      : workers.some(({ type }) => address === `${type}:*`);
    if (can) return;
    this.bus.tell(KEY.error, noWorker(job, this.target));
    emit('refused', { id: job.id, address, job });
  }

  /** As anybody may: makes every manager on the bus show its list. */
  poll() {
    this.bus.tellRaw(POLLING, KEY.list, LIST_REQUEST_TEXT);
  }

  async stop() {
    clearInterval(this.timer);
    await this.bus.close();
  }
}

module.exports = { Manager };
