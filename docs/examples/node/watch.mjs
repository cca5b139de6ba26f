// Consume status events so that none is missed and none is taken twice:  node watch.mjs [JOB]
// Ends with the job, where one is given: 0 completed, 1 failed or cancelled.
import amqp from "amqplib";

const QUEUE = "swift-subscriber.node-example"; // durable and our own: it keeps what comes while we are away
const [job] = process.argv.slice(2);
const ended = ["completed", "failed", "cancelled"];
const seen = new Set(); // keep it with your own data, in one transaction with what an event changes there

const connection = await amqp.connect(process.env.SWIFT_TRAINER_AMQP_URL);
const channel = await connection.createChannel();
await channel.prefetch(100);
await channel.assertQueue(QUEUE, {
  durable: true,
  arguments: { "x-max-length": 100_000, "x-expires": 7 * 86_400_000 },
});
await channel.bindQueue(QUEUE, "swift.events", "job.*.status.*");

const status = await new Promise((resolve, reject) => {
  connection.on("close", () => reject(new Error("the connection went; start again, the queue has kept all")));
  channel.consume(QUEUE, (message) => {
    const event = JSON.parse(message.content);
    if (!seen.has(event.id)) {
      seen.add(event.id);
      console.log(event.subject, event.sequence, event.data.status, event.data.reason);
    }
    channel.ack(message); // only now: what we did not finish comes again
    if (event.subject === job && ended.includes(event.data.status)) resolve(event.data.status);
  });
  console.log("listening");
});
await channel.close();
await connection.close();
process.exit(status === "completed" ? 0 : 1);
