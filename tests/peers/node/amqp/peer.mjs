// node peer.mjs URL COMMAND ARGUMENTS(JSON): publish, get, ask or serve. Prints one line of JSON, "ready" first where it serves.
import amqp from "amqplib";

const [url, command, text] = process.argv.slice(2);
const args = JSON.parse(text);
const connection = await amqp.connect(url);
const channel = await connection.createConfirmChannel();

const shown = (message) => ({ fields: message.fields, properties: message.properties, body: message.content.toString() });

const published = (queue, body, options) =>
  new Promise((resolve, reject) =>
    channel.sendToQueue(queue, Buffer.from(body), options, (error) => (error ? reject(error) : resolve())));

const once = (queue, options) =>
  new Promise((resolve) => channel.consume(queue, (message) => resolve(shown(message)), options));

const commands = {
  async publish() {
    await published(args.queue, args.body, args.options);
    return null;
  },
  get: () => once(args.queue, { noAck: true }),
  async ask() {
    const reply = once("amq.rabbitmq.reply-to", { noAck: true });
    await published(args.queue, args.body, { ...args.options, replyTo: "amq.rabbitmq.reply-to", correlationId: "n-1" });
    return reply;
  },
  async serve() {
    await channel.consume(args.queue, (message) => {
      const { replyTo, correlationId } = message.properties;
      const body = message.content.toString();
      const headers = body === "refused" ? { "gateway-status": "NOT_FOUND" } : { "x-number": 7.5 };
      const reply = body === "refused" ? '{"detail": "no such order"}' : body.toUpperCase();
      channel.sendToQueue(replyTo, Buffer.from(reply), { correlationId, headers });
      channel.ack(message);
    });
    console.log(JSON.stringify("ready"));
    await new Promise((resolve) => process.stdin.on("end", resolve).resume());
    return null;
  },
};

console.log(JSON.stringify(await commands[command]()));
await connection.close();
