/**
 * A guest that is this machine, with a directory of its own in the place of /var/lib and /root for each command: what the daemon and the helper
 * do between the command line and a guest is tested elsewhere.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Chassis, ExecPage, ExecRequest } from '../../../manager/control/api.js';
import type { ChassisClient } from '../../../manager/control/client.js';
import type { GuestAddress } from '../../../cli/guest/guest-run.js';

const NAMESPACE = 'mount --bind "$0/lib" /var/lib && mount --bind "$0/root" /root && cd / && exec "$@"';

/** True where this user may make mount namespaces. */
export const canHaveLocalGuest =
  process.geteuid?.() === 0 && spawnSync('unshare', ['-m', 'true'], { stdio: 'ignore' }).status === 0;

export class LocalGuest {
  readonly folder: string;
  readonly address: GuestAddress;
  readonly #children = new Map<number, ChildProcess>();
  #last = 0;

  constructor(folder: string) {
    this.folder = folder;
    for (const name of ['lib', 'root']) mkdirSync(join(folder, name), { recursive: true });
    const client: Pick<ChassisClient, 'get' | 'exec' | 'execInput' | 'execSignal'> = {
      get: async () =>
        ({ vmm: { type: 'qemu' }, guestHelper: true, guestCommands: true }) as unknown as Chassis,
      exec: (_name, request) => this.#exec(request),
      execInput: async (_name, command, { data, end }) => {
        const stdin = this.#children.get(command)?.stdin;
        if (data !== undefined) await new Promise((done) => stdin?.write(Buffer.from(data, 'base64'), done));
        if (end) stdin?.end();
      },
      execSignal: async (_name, command, signal) => {
        process.kill(-(this.#children.get(command)?.pid ?? 0), `SIG${signal}`);
      },
    };
    this.address = { client: client as ChassisClient, chassis: 'dev' };
  }

  async *#exec({ command }: Pick<ExecRequest, 'command'> & Partial<ExecRequest>): AsyncGenerator<ExecPage> {
    const id = ++this.#last;
    const child = spawn('unshare', ['-m', 'sh', '-c', NAMESPACE, this.folder, ...command], {
      detached: true,
    });
    child.stdin.on('error', () => undefined);
    this.#children.set(id, child);
    const exited = new Promise<number>((resolve) =>
      child.on('close', (code, signal) => resolve(code ?? (signal === 'SIGTERM' ? 143 : 137))),
    );
    const errors: Buffer[] = [];
    child.stderr.on('data', (bytes: Buffer) => errors.push(bytes));
    yield { command: id };
    for await (const bytes of child.stdout) yield { stdout: (bytes as Buffer).toString('base64') };
    const exitCode = await exited;
    yield { stderr: Buffer.concat(errors).toString('base64'), exitCode };
  }
}
