import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { installPrograms } from "../../scripts/local/debian-packages.ts";
import { GuardedProcess } from "../../scripts/local/guarded-process.ts";
import { freePort } from "../../scripts/local/free-port.ts";

export type SshTunnel = { stop(): Promise<void> } | { leftOut: string };

/**
 * `ssh -R`: the same way round as a runner's tunnel, out from where the backend is. Its server listens on the loopback
 * interface alone, for one key that dies with it.
 */
export async function startSshTunnel(remotePort: number, backendPort: number): Promise<SshTunnel> {
  const missing = installPrograms([
    { program: "sshd", package: "openssh-server" },
    { program: "ssh", package: "openssh-client" },
  ]);
  if (missing.length > 0) {
    return { leftOut: `${missing.map((one) => one.package).join(" and ")} can't be installed here` };
  }
  const directory = await mkdtemp(join(tmpdir(), "signalbox-ssh-"));
  const file = (name: string): string => join(directory, name);
  for (const name of ["host", "client"]) {
    spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file(name)], { stdio: "ignore" });
  }
  // Where sshd gives up its rights; it must exist for root and matters to nobody else.
  if (process.getuid?.() === 0) await mkdir("/run/sshd", { recursive: true, mode: 0o755 });
  const port = await freePort();
  await writeFile(
    file("sshd_config"),
    `ListenAddress 127.0.0.1
Port ${port}
HostKey ${file("host")}
AuthorizedKeysFile ${file("client.pub")}
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
AllowTcpForwarding remote
`,
  );
  const env = { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin`, HOME: directory };
  const server = new GuardedProcess("/usr/sbin/sshd", ["-D", "-e", "-f", file("sshd_config")], {
    env,
    stdout: "ignore",
  });
  let client: GuardedProcess | null = null;
  const stop = async (): Promise<void> => {
    await client?.stop();
    await server.stop();
    await rm(directory, { recursive: true, force: true });
  };
  if (!(await listens(port))) {
    await stop();
    return { leftOut: "sshd didn't start" };
  }
  const options = ["ExitOnForwardFailure=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"];
  client = new GuardedProcess(
    "ssh",
    [
      "-N",
      "-F",
      "none",
      "-i",
      file("client"),
      "-p",
      String(port),
      "-l",
      userInfo().username,
      ...options.flatMap((option) => ["-o", option]),
      "-R",
      `127.0.0.1:${remotePort}:127.0.0.1:${backendPort}`,
      "127.0.0.1",
    ],
    { env, stdout: "ignore" },
  );
  if (await listens(remotePort)) return { stop };
  await stop();
  return { leftOut: "ssh -R couldn't connect to the sshd that was started for it" };
}

async function listens(port: number): Promise<boolean> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("close", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    if (open) return true;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}
