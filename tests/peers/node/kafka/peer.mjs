// node peer.mjs BROKER COMMAND ARGUMENTS(JSON): produce, read, ask or serve. Prints one line of JSON, "ready" first
// where it serves. Bytes that are no text are {"bytes": [...]} both ways.
import kafkajs from "kafkajs";

const { CompressionTypes, Kafka, logLevel } = kafkajs;
const [broker, command, text] = process.argv.slice(2);
const args = JSON.parse(text);
const kafka = new Kafka({ clientId: "node", brokers: [broker], logLevel: logLevel.ERROR });

const bytes = (value) => (value?.bytes ? Buffer.from(value.bytes) : value);
const mapped = (object, change) => Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));
const shown = (value) => {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) return value.map(shown);
  return Buffer.from(value.toString()).equals(value) ? value.toString() : { bytes: [...value] };
};

async function produced(topic, messages, { compression = "None", acks, ...options } = {}) {
  const producer = kafka.producer({ ...options, maxInFlightRequests: options.idempotent ? 1 : undefined });
  await producer.connect();
  const records = messages.map((message) => ({
    ...message,
    key: bytes(message.key),
    value: bytes(message.value),
    headers: mapped(message.headers ?? {}, bytes),
  }));
  const batch = { topic, messages: records, compression: CompressionTypes[compression], acks };
  if (options.transactionalId) {
    const aborted = await producer.transaction();
    await aborted.send({ ...batch, messages: records.map((record) => ({ ...record, value: "aborted" })) });
    await aborted.abort();
    const transaction = await producer.transaction();
    await transaction.send(batch);
    await transaction.commit();
  } else {
    await producer.send(batch);
  }
  await producer.disconnect();
}

async function consumed(topic, take, ready = () => {}) {
  const consumer = kafka.consumer({ groupId: `node-${process.pid}-${topic}`, maxWaitTimeInMs: 50 });
  consumer.on(consumer.events.GROUP_JOIN, ready);
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: ({ partition, message: { key, value, headers, timestamp } }) =>
      take({ partition, timestamp, key: shown(key), value: shown(value), headers: mapped(headers ?? {}, shown) }),
  });
  return consumer;
}

async function read(topic, count, fits = () => true) {
  const found = [];
  let consumer;
  await new Promise((resolve, reject) => {
    consumed(topic, (message) => {
      if (fits(message)) found.push(message);
      if (found.length === count) resolve();
    }).then((started) => { consumer = started; }, reject);
  });
  await consumer?.disconnect();
  return found;
}

const commands = {
  async produce() {
    await produced(args.topic, args.messages, args.options);
    return null;
  },
  read: () => read(args.topic, args.count),
  async ask() {
    const headers = { ...args.headers, "reply-to": args.replies, "correlation-id": "n-1" };
    await produced(args.topic, [{ value: args.value, headers }]);
    return (await read(args.replies, 1, (message) => message.headers["correlation-id"] === "n-1"))[0];
  },
  async serve() {
    const producer = kafka.producer();
    await producer.connect();
    await consumed(
      args.topic,
      async ({ value, headers }) => {
        const refused = JSON.parse(value).customer_id === "refused";
        const reply = refused ? '{"detail": "no such customer", "path": "$.customer_id"}' : args.reply;
        await producer.send({
          topic: headers["reply-to"],
          messages: [{
            value: reply,
            headers: {
              "correlation-id": headers["correlation-id"],
              "x-trace": headers.traceparent ?? "",
              ...(refused && { "gateway-status": "NOT_FOUND" }),
            },
          }],
        });
      },
      () => console.log(JSON.stringify("ready")),
    );
    await new Promise((resolve) => process.stdin.on("end", resolve).resume());
    return null;
  },
};

process.stdout.write(`${JSON.stringify(await commands[command]())}\n`, () => process.exit(0));
