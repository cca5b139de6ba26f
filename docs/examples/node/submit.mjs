// Order a training:  node submit.mjs MODEL DATASET
// Needs `npm ci` here and the broker's URL in SWIFT_TRAINER_AMQP_URL; prints the job's id.
import { randomUUID } from "node:crypto";
import amqp from "amqplib";

const [model, dataset] = process.argv.slice(2);
const url = process.env.SWIFT_TRAINER_AMQP_URL;
const connection = await amqp.connect(url);
const channel = await connection.createConfirmChannel();

const answer = new Promise((resolve, reject) => {
  channel.consume("amq.rabbitmq.reply-to", (message) => resolve(JSON.parse(message.content)), { noAck: true });
  connection.on("close", () => reject(new Error("the connection went before the answer came")));
  setTimeout(() => reject(new Error("no answer within 30 s; is a daemon running?")), 30_000).unref();
});
const request = {
  training_type: "llm",
  model_path: model,
  datasets: [dataset],
  output_dir: "output/node",
  start: true,
};
channel.publish("swift.commands", "job.create", Buffer.from(JSON.stringify(request)), {
  replyTo: "amq.rabbitmq.reply-to",
  messageId: process.env.MESSAGE_ID ?? randomUUID(), // the same id again makes no second job
  userId: decodeURIComponent(new URL(url).username) || "guest", // whose job it is: the connection's own user, no other
  persistent: true,
});
await channel.waitForConfirms();
const reply = await answer;
await connection.close();
if (!reply.ok) {
  console.error(`refused: ${reply.error.message}`);
  process.exit(1);
}
console.log(reply.result.job_id);
