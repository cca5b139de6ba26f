// The daemon's user: it may read and write its own database (indexes included), and nothing else.
// The image's entry point runs this once, on an empty data folder; a later change of the password is made with
// db.changeUserPassword().
const name = "swift_trainer";
const password = process.env.MONGODB_DAEMON_PASSWORD;
if (!password || password === "CHANGE_ME") {
  throw new Error("MONGODB_DAEMON_PASSWORD is not set");
}
db.getSiblingDB(name).createUser({ user: name, pwd: password, roles: [{ role: "readWrite", db: name }] });
