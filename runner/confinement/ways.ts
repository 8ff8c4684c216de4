import { chmod, mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ownCommand } from "../processes/own-program.ts";
import type { Publication } from "./confinement.ts";
import { quoted } from "./launch.ts";
import { PassOn } from "./pass-on.ts";
import { canRelay, SMALL_RELAY } from "./small-relay.ts";
import { relayArguments, socketAny, socketInto, socketOut } from "./relay.ts";

/** Bytes of a Unix socket's path. Source: unix(7), 108 with its end. */
const PATH_LIMIT = 107;

/** Ports of this machine's loopback that some guests reach. */
interface PortsOfSome {
  /** To agents' vendors. */
  gateway?: number | undefined;
  /** To packages. */
  packages?: number | undefined;
}

export interface WaysOptions extends PortsOfSome {
  /** Of this machine's loopback: those that all guests reach. */
  ports: readonly number[];
  /** What runs a guest's half; null: the runner's own program. */
  perl: string | null;
}

/** The runner's half of the ways between its guests' networks and the machine's loopback. */
export class Ways {
  readonly #directory: string;
  readonly #ports: readonly number[];
  readonly #some: PortsOfSome;
  readonly #relay: readonly string[];
  readonly #out: PassOn[] = [];
  readonly #published = new Set<number>();
  #launches = 0;

  private constructor(
    directory: string,
    { ports, gateway, packages }: WaysOptions,
    relay: readonly string[],
  ) {
    this.#directory = directory;
    this.#ports = ports;
    this.#some = { gateway, packages };
    this.#relay = relay;
  }

  static async open(directory: string, options: WaysOptions): Promise<Ways> {
    const { ports, gateway, packages, perl } = options;
    const isShort = Buffer.byteLength(socketInto(directory, 65_535)) <= PATH_LIMIT;
    const place = isShort ? directory : join(tmpdir(), `signalbox-ways-${process.pid}`);
    // Of an earlier runner.
    await rm(place, { recursive: true, force: true });
    await mkdir(place, { mode: 0o700 });
    await chmod(place, 0o700);
    const script = join(place, "relay");
    const isSmall = perl !== null && canRelay(perl);
    if (isSmall) await writeFile(script, SMALL_RELAY, { mode: 0o600 });
    const ways = new Ways(place, options, isSmall ? [perl, script] : [...ownCommand(), "relay"]);
    const ofSome = [gateway, packages].filter((port) => port !== undefined);
    for (const port of [...ports, ...ofSome])
      ways.#out.push(await PassOn.listen({ path: socketOut(place, port) }, { to: { port } }));
    return ways;
  }

  /**
   * A command of a guest's network, with the relay beside it. What leads out is there first: what a guest asks at its
   * start, it may not ask again.
   */
  beside(
    port: number | null,
    { usesGateway = false, usesPackages = false }: { usesGateway?: boolean; usesPackages?: boolean } = {},
  ): string[] {
    const { gateway, packages } = this.#some;
    const ofSome = [usesGateway ? gateway : undefined, usesPackages ? packages : undefined];
    const out = [...this.#ports, ...ofSome.filter((one) => one !== undefined)];
    if (port === null && out.length === 0) return [];
    const ready = join(this.#directory, `ready-${++this.#launches}`);
    const relay = relayArguments({ directory: this.#directory, ready, into: port, out });
    const command = [...this.#relay, ...relay].map(quoted).join(" ");
    const start = `${command} </dev/null >/dev/null 2>&1 & r=$!`;
    const wait = `until [ -e ${quoted(ready)} ]; do
  kill -0 $r 2>/dev/null || { echo "its relay ended" >&2; exit 126; }
  /bin/sleep 0.01
done
/bin/rm -f ${quoted(ready)}`;
    const script = [start, ...(out.length > 0 ? [wait] : []), 'exec "$@"'];
    return ["/bin/sh", "-c", script.join("\n"), "sh"];
  }

  /** Lets this machine reach a guest by the port that it listens on in its own network. */
  async publish(port: number): Promise<Publication> {
    const path = socketInto(this.#directory, port);
    const any = socketAny(this.#directory, port);
    const ways = [await PassOn.listen({ port }, { to: { path } })];
    const further = new Map<number, Promise<string>>();
    this.#published.add(port);
    return {
      reach: (other) => {
        if (other === port) return Promise.resolve(path);
        let found = further.get(other);
        if (found === undefined) {
          const from = join(this.#directory, `${port}-${other}`);
          const opened = PassOn.listen({ path: from }, { to: { path: any }, preface: `${other}\n` });
          found = opened.then((way) => (ways.push(way), from));
          further.set(other, found);
        }
        return found;
      },
      close: async () => {
        this.#published.delete(port);
        await Promise.allSettled(further.values());
        await Promise.all(ways.map((way) => way.close()));
        for (const left of [path, any]) await rm(left, { force: true });
      },
    };
  }

  wayTo(port: number): string | undefined {
    return this.#published.has(port) ? socketInto(this.#directory, port) : undefined;
  }

  async close(): Promise<void> {
    await Promise.all(this.#out.map((way) => way.close()));
    await rm(this.#directory, { recursive: true, force: true });
  }
}
