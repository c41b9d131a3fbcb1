'use strict';
// A connection to the broker: two exchanges, one exclusive queue for each routing key that is heard.

const amqp = require('amqplib');
const { codec } = require('./codec');
const { NOTIFICATIONS, POLLING } = require('./messages');
const { emit, fail } = require('./control');

class Bus {
  static async connect(url, codecName) {
    const bus = new Bus();
    bus.codec = codec(codecName);
    bus.connection = await amqp.connect(url);
    bus.connection.on('error', (error) => fail('disconnected', { reason: error.message }));
    bus.connection.on('close', () => bus.leaving || fail('disconnected', { reason: 'the broker closed the connection' }));
    bus.channel = await bus.connection.createChannel();
    bus.channel.on('error', (error) => fail('disconnected', { reason: error.message }));
    for (const exchange of [NOTIFICATIONS, POLLING]) {
      await bus.channel.assertExchange(exchange, 'topic', { durable: false, autoDelete: false });
    }
    return bus;
  }

  /** Hears every message of a routing key, decoded. Acks when `handler` has returned; what it throws ends the process. */
  async hear(key, handler) {
    await this.hearRaw(NOTIFICATIONS, key, (body) => handler(this.codec.decode(body)));
  }

  /** As `hear`, for what is not encoded. */
  async hearRaw(exchange, key, handler) {
    const { queue } = await this.channel.assertQueue('', { exclusive: true });
    await this.channel.bindQueue(queue, exchange, key);
    await this.channel.consume(queue, (message) => {
      if (message === null) return fail('disconnected', { reason: `the queue for ${key} is gone` });
      try {
        handler(message.content);
      } catch (error) {
        const { routingKey } = message.fields;
        return fail('malformed', { exchange, key: routingKey, body: message.content.toString('hex'), reason: error.message });
      }
      this.channel.ack(message);
    });
  }

  /** Tells everybody. What the codec cannot write is not sent, and that is an event. */
  tell(key, value) {
    let body;
    try {
      body = this.codec.encode(value);
    } catch (error) {
      emit('unsent', { key, reason: error.message });
      return;
    }
    this.channel.publish(NOTIFICATIONS, key, body);
  }

  tellRaw(exchange, key, body) {
    this.channel.publish(exchange, key, body);
  }

  /** Sends what is buffered, and goes. */
  async close() {
    this.leaving = true;
    await this.channel.close();
    await this.connection.close();
  }
}

module.exports = { Bus };
