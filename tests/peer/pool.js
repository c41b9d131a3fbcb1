'use strict';
// The workers of one type as one of them sees them, and whose turn it believes it to be. Every member counts for itself and
// they do not agree for long; that is how the original behaves, and what a host on the same broker has to live with.

class Pool {
  constructor(self) {
    this.self = self;
    this.members = [{ worker: self, isNext: true }];
  }

  /** Whether this worker is to tell the others how it sees the pool. */
  isFirst() {
    return this.members[0]?.worker.id === this.self.id;
  }

  /** Whether it is this worker's turn. */
  isMyTurn() {
    return this.members.some(({ worker, isNext }) => isNext && worker.id === this.self.id);
  }

  add(worker) {
    if (this.members.some((member) => member.worker.id === worker.id)) return;
    this.members.push({ worker, isNext: false });
  }

  /** The turn goes to whoever moves up to the place; when the last of the list leaves, to nobody. */
  remove(id) {
    const at = this.members.findIndex(({ worker }) => worker.id === id);
    if (at < 0) return;
    const [gone] = this.members.splice(at, 1);
    if (gone.isNext && this.members[at]) this.members[at].isNext = true;
  }

  replace(members) {
    this.members = members.map(({ worker, isNext }) => ({ worker, isNext }));
  }

  /** Somebody has taken a job. */
  rotate() {
    const at = this.members.findIndex(({ isNext }) => isNext);
    if (at < 0) return;
    this.members[at].isNext = false;
    this.members[(at + 1) % this.members.length].isNext = true;
  }
}

module.exports = { Pool };
