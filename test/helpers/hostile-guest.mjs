import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { dirname, join } from "node:path";

// A deployment that turns on its runner, its neighbours and its machine, in the way that ATTACK names. What it gets hold of it
// says as "GOT …", what it is refused as "REFUSED …".

const { ATTACK, SECRETS = "", PORTS = "", WORKSPACE = "", MARK = "" } = process.env;
const again = (what, ms) => setInterval(() => void what(), ms);
const said = new Set();
function say(line) {
  if (said.has(line)) return;
  said.add(line);
  console.log(line);
}
/** Signal 0 asks whether one may, and does nothing. */
function tried(what, act) {
  try {
    act();
    say(`GOT ${what}`);
  } catch (error) {
    say(`REFUSED ${what}: ${error.code ?? error.message}`);
  }
}

function ownProcesses() {
  const own = new Set([process.pid]);
  for (let at = process.pid; at > 1;) {
    try {
      at = Number(fs.readFileSync(`/proc/${at}/stat`, "latin1").split(") ")[1].split(" ")[1]);
      // Its shell and its wrappers are itself, as far as it can see them.
      if (fs.statSync(`/proc/${at}`).uid === process.getuid()) own.add(at);
    } catch {
      break;
    }
  }
  return own;
}

const attacks = {
  spy() {
    const secrets = SECRETS.split(",");
    const own = ownProcesses();
    for (const name of fs.readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
      try {
        const text = fs.readFileSync(`/proc/${name}/environ`, "latin1");
        if (own.has(Number(name))) continue;
        for (const secret of secrets)
          if (text.includes(`=${secret}\0`)) say(`GOT a secret of process ${name}`);
      } catch {
        say("REFUSED an environment");
      }
    }
    // The runner and its neighbours are in sight where processes are.
    tried("a signal to the first process", () => process.kill(1, 0));
    for (const path of [
      ".signalbox/runner.lock",
      ".signalbox/credentials",
      ".signalbox/deployments/calm/v1/work/server.mjs",
    ])
      tried(`to read ${path}`, () => {
        const file = join(WORKSPACE, path);
        return fs.statSync(file).isDirectory() ? fs.readdirSync(file) : fs.readFileSync(file);
      });
    for (const path of [WORKSPACE, dirname(WORKSPACE), "/usr/bin", "/etc"])
      tried(`to write into ${path}`, () => fs.writeFileSync(join(path, `written-by-${MARK}`), ""));
    for (const port of PORTS.split(",").map(Number))
      connect({ host: "127.0.0.1", port })
        .on("connect", function () {
          say("CONNECTED to a port of others");
          this.destroy();
        })
        .on("error", (error) => say(`REFUSED a port of others: ${error.code}`));
  },
  daemons() {
    spawn("sh", ["-c", `env -i setsid sh -c 'exec sleep 300.${MARK}' >/dev/null 2>&1 </dev/null &`], {
      stdio: "ignore",
    });
  },
  disk: () => fs.appendFile("filler", Buffer.alloc(1024 * 1024), () => undefined),
  inodes() {
    for (let n = 0; n < 50; n += 1) fs.writeFileSync(`inode-${process.hrtime.bigint()}`, "");
  },
  memory() {
    (globalThis.kept ??= []).push(Buffer.alloc(8 * 1024 * 1024, 1));
  },
  processes() {
    // 2,048 at most, should nobody stop it.
    if ((globalThis.round = (globalThis.round ?? 0) + 1) > 128) return;
    for (let n = 0; n < 16; n += 1) spawn("sleep", ["300"], { stdio: "ignore" }).on("error", () => undefined);
  },
  descriptors() {
    try {
      for (let n = 0; n < 1_000; n += 1) (globalThis.open ??= []).push(fs.openSync("/dev/null"));
    } catch (error) {
      say(`REFUSED descriptors: ${error.code}`);
    }
  },
  log: () => process.stdout.write("noise ".repeat(10_000) + "\n"),
  processor() {
    for (const end = Date.now() + 90; Date.now() < end;);
  },
};
const pauses = {
  spy: 500,
  daemons: 500,
  disk: 20,
  inodes: 20,
  memory: 50,
  processes: 100,
  descriptors: 20,
  log: 5,
  processor: 100,
};

const begin = () => again(attacks[ATTACK], pauses[ATTACK]);
createServer((_request, response) => response.end("up")).listen(process.env.PORT, process.env.HOST);
// Told by a file, and once more each time that it comes back.
const told = setInterval(() => {
  if (!fs.existsSync("begin")) return;
  clearInterval(told);
  begin();
}, 300);
