'use strict';
// What the messages of the bus look like: their routing keys, their keys in the original's order, their texts.

const NOTIFICATIONS = 'notifications';
const POLLING = 'polling';

const KEY = {
  announce: 'worker.new.send',
  answer: 'worker.new.resend',
  anyAnnouncement: 'worker.new.*',
  getAll: 'worker.getAll',
  list: 'worker.list',
  del: 'worker.del',
  next: 'worker.next',
  ack: 'worker.next.ack',
  error: 'error',
};

/** Not encoded, whatever the codec. */
const GET_ALL_TEXT = Buffer.from("Hi workers, tell me who's online");
const LIST_REQUEST_TEXT = Buffer.from('Show me the list of workers');

const NO_WORKER = 'No worker available for this job';
const TOO_MANY_SENDS = 'Job send too many times';

function job(workersList, position, data, sender, id) {
  return { workers_list: workersList, workers_list_id: position, data, sender, id };
}

/** A job after it has been taken: at the last entry of its pipeline the position stays. */
function taken(job, byId) {
  const position = Math.min(job.workers_list_id + 1, job.workers_list.length - 1);
  const after = { ...job, workers_list_id: position };
  return byId ? { ...after, ignoreUpdate: true } : after;
}

/** That nobody can do a job. The original gives the sender's whole config as the target, which no worker takes for its id. */
function noWorker(job, target) {
  return { target: target === 'id' ? job.sender.id : job.sender, error: NO_WORKER, id: job.id, data: job.data };
}

/** An id as the original makes it: not unique within a millisecond. */
function id(prefix) {
  return `${prefix}${Date.now()}`;
}

module.exports = {
  NOTIFICATIONS, POLLING, KEY, GET_ALL_TEXT, LIST_REQUEST_TEXT, TOO_MANY_SENDS, job, taken, noWorker, id,
};
